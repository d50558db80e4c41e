"""Failures: programs that errored in the same way are shown, and found, together."""

from collections.abc import Sequence

import pytest

from builders import JOBS, a_failure, by_hand, claimed, row_of, stands, submitted
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.failures import (
    MAX_PATTERN,
    failure_groups,
    members_of,
    pattern_of,
)
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import Fail


async def _errored(
    database: Database, run_id: str, message: str, *, jobs: Sequence[str] = JOBS
) -> None:
    await stands(database, await claimed(database, run_id, jobs=jobs), Fail(a_failure(message)))


async def _cancelled(database: Database, run_id: str) -> None:
    await submitted(database, run_id)
    await database.transact(cancel, run_id)


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("Order 4711 not found", "Order <n> not found"),
        ("took 3.25 s of 1,000", "took <n> s of <n>"),
        ("no user 1a7b88f9-f8e7-4b1d-9f91-65124e139495!", "no user <uuid>!"),
        ("no user 0190F3A2-7B1C-7D2E-8F3A-1234567890AB", "no user <uuid>"),
        ("object at 0x7f06b7bb37e0", "object at <hex>"),
        ("commit deadbeef01 is gone", "commit <hex> is gone"),
        ("the facade decided", "the facade decided"),
        ("  two\n\n lines\t", "two lines"),
        ("", ""),
        ("Ωδή 12 🚀", "Ωδή <n> 🚀"),
        ("x" * 1_000, "x" * MAX_PATTERN),
    ],
)
def test_pattern_leaves_out_what_differs(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


async def test_failures_are_grouped_by_job_and_pattern(database: Database) -> None:
    for number in range(3):
        await _errored(database, f"order-{number}", f"Order {number} not found")
    await _errored(database, "other-job", "Order 7 not found", jobs=["charge"])
    await _errored(database, "other-error", "the card was refused")
    found = await database.read(failure_groups)
    assert (found.looked_at, found.has_more) == (5, False)
    assert [(each.job, each.pattern, each.count) for each in found.groups] == [
        ("reserve", "Order <n> not found", 3),
        ("charge", "Order <n> not found", 1),
        ("reserve", "the card was refused", 1),
    ]
    largest = found.groups[0]
    assert (largest.message, largest.run_id) == ("Order 2 not found", "order-2")
    assert largest.first_seen == (await row_of(database, "order-0"))["errored_at"]
    assert largest.last_seen == (await row_of(database, "order-2"))["errored_at"]


async def test_members_of_a_group_are_those_that_were_counted(database: Database) -> None:
    for number in range(3):
        await _errored(database, f"order-{number}", f"Order {number} not found")
    await _errored(database, "other-job", "Order 7 not found", jobs=["charge"])
    (largest, *_) = (await database.read(failure_groups)).groups
    members = await database.read(members_of, largest.job, largest.pattern)
    assert members == ["order-2", "order-1", "order-0"]
    assert await database.read(members_of, "reserve", "no such pattern") == []


async def test_failure_without_a_message_is_one_too(database: Database) -> None:
    await _errored(database, "run-1", "gone")
    await by_hand(database, "run-1", error_message=None)
    (group,) = (await database.read(failure_groups)).groups
    assert (group.pattern, group.message) == ("", "")
    assert await database.read(members_of, "reserve", "") == ["run-1"]


async def test_what_goes_on_or_was_cancelled_or_finished_is_no_failure(database: Database) -> None:
    await _cancelled(database, "cancelled")
    for run_id in ("resumed", "finished"):
        await _errored(database, run_id, "gone")
    await database.transact(resume, "resumed", queues={})
    errored_at = (await row_of(database, "finished"))["errored_at"]
    await by_hand(database, "finished", finished_at=errored_at)
    assert (await database.read(failure_groups)).groups == []


async def test_newest_are_looked_at_and_it_says_that_there_are_more(database: Database) -> None:
    for number in range(5):
        await _errored(database, f"run-{number}", "gone")
        await _cancelled(database, f"cancelled-{number}")
    for newest, has_more in ((3, True), (4, True), (5, False), (6, False)):
        found = await database.read(failure_groups, newest=newest)
        assert (found.looked_at, found.has_more) == (min(newest, 5), has_more)
        members = await database.read(members_of, "reserve", "gone", newest=newest)
        assert members == [f"run-{number}" for number in range(4, 4 - found.looked_at, -1)]


async def test_thousands_that_were_cancelled_shorten_the_answer(database: Database) -> None:
    await _errored(database, "old", "gone")
    for number in range(8):
        await _cancelled(database, f"cancelled-{number}")
    found = await database.read(failure_groups, newest=1)
    assert (found.looked_at, found.has_more) == (0, True)
    assert (await database.read(failure_groups, newest=2)).looked_at == 1
