"""Unreadable rows: they are claimed, and set aside, beside those that can be read."""

from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from builders import (
    a_claim,
    a_claimant,
    a_program,
    attempts_of,
    by_hand,
    claimed,
    counts_of,
    lapse,
    recorded,
    row_of,
    scribble,
    seconds_ago,
    submitted,
    submitted_all,
    try_claim,
)
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BatchRefused, RowUnreadable
from program_service.bookkeeping.ledger.callbacks import Report, Ticket, settle_callback
from program_service.bookkeeping.ledger.claiming import claim, claim_at_once
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.ledger.rows import Unreadable
from program_service.bookkeeping.ledger.setting_aside import SetAside, set_aside, set_aside_alone
from program_service.bookkeeping.ledger.waking import find_due, mark_woken
from program_service.bookkeeping.lifecycle import Claimed, Done, Failure, Status
from servers import on_servers

FAILURE = Failure("This row cannot be read: it is odd.", type="odd", code="unreadable_row")
ODD = {
    "odd-1": ("program_data", '{"name": "\\ud83d"}'),
    "odd-2": ("job_data", "null"),
    "odd-3": ("jobs", '{"0": "reserve"}'),
    "odd-4": ("program_data", '{"n": 1e400}'),
}


async def odd_rows(database: Database) -> list[str]:
    """Submit programs, write into every second one, and return their run_ids."""
    run_ids = [run_id for number, odd in enumerate(ODD) for run_id in (f"good-{number}", odd)]
    await submitted_all(database, [a_program(run_id) for run_id in run_ids])
    for run_id, (column, text) in ODD.items():
        await scribble(database, run_id, column, text)
    return run_ids


async def unreadable(database: Database, run_id: str = "odd") -> Unreadable:
    """Submit a program, write into it, and claim it."""
    await submitted(database, run_id, notify="https://shop.example/ended")
    await scribble(database, run_id, "job_data", "[1]")
    answer = await try_claim(database, run_id)
    assert isinstance(answer, Unreadable)
    return answer


def aside(program: Unreadable | Claimed) -> SetAside:
    """Make a wish to set a program aside."""
    return SetAside(program.id, program.run_id, program.lease, "worker-1", FAILURE)


@pytest.mark.parametrize("is_lapsed", [False, True])
async def test_rows_of_a_claim_are_read_one_by_one(database: Database, *, is_lapsed: bool) -> None:
    run_ids = await odd_rows(database)
    for run_id in run_ids if is_lapsed else ():
        await by_hand(database, run_id, awaiting=1)  # claimed by the other way
    claims = [a_claim(run_id) for run_id in run_ids]
    answers = await database.transact(claim, claims, a_claimant())
    for wish, answer in zip(claims, answers, strict=True):
        assert isinstance(answer, Claimed | Unreadable)
        assert (answer.run_id, answer.lease) == (wish.run_id, wish.lease)
        assert isinstance(answer, Unreadable) is (wish.run_id in ODD)
    # the same wishes once more, as after a COMMIT whose answer was lost (rule R4)
    assert await database.transact(claim, claims, a_claimant()) == answers


async def test_rows_of_a_claim_in_one_statement_are_read_one_by_one(database: Database) -> None:
    if not database.commits_statements:
        return
    claims = [a_claim(run_id) for run_id in await odd_rows(database)]
    answers = await database.transact(claim_at_once, claims, a_claimant())
    assert [isinstance(answer, Unreadable) for answer in answers] == [False, True] * len(ODD)


async def test_program_that_is_set_aside_is_errored_and_seen(database: Database) -> None:
    program = await unreadable(database)
    assert await database.transact(set_aside, aside(program))
    shown = await database.read(find, "odd")
    assert (shown.status, shown.error_message) == (Status.ERRORED, FAILURE.message)
    row = await row_of(database, "odd")
    assert (row["lease"], row["claimed_by"], row["woken_at"]) == (None, None, None)
    assert row["notify_due_at"] is not None
    assert row["due_at"] is not None  # clearing errored_at by hand revives it
    (attempt,) = await attempts_of(database, "odd")
    assert (attempt.outcome, attempt.error_code, attempt.worker) == (
        "failed",
        "unreadable_row",
        "worker-1",
    )
    assert attempt.error_message == FAILURE.message
    assert (await counts_of(database))["reserve", "failed", "worker-1"] == 1
    # a transaction whose COMMIT answer was lost changes nothing more
    before = await row_of(database, "odd")
    assert not await database.transact(set_aside, aside(program))
    assert await row_of(database, "odd") == before
    assert len(await attempts_of(database, "odd")) == 1


@pytest.mark.parametrize("verb", [set_aside, set_aside_alone])
async def test_nobody_sets_a_program_of_others_aside(
    database: Database, verb: Callable[[Books, SetAside], Awaitable[bool]]
) -> None:
    """Rule R2: the lease fences this write, too."""
    program = await unreadable(database)
    await lapse(database, "odd")
    assert isinstance(await try_claim(database, "odd", worker="worker-2"), Unreadable)
    before = await row_of(database, "odd")
    assert not await database.transact(verb, aside(program))
    assert await row_of(database, "odd") == before


@on_servers
async def test_program_is_set_aside_although_its_attempt_is_refused(database: Database) -> None:
    program = await unreadable(database)
    await by_hand(database, "odd", step_retry_count=2**31 - 1)  # there is no number after it
    with pytest.raises(BatchRefused):
        await database.transact(set_aside, aside(program))
    assert await database.transact(set_aside_alone, aside(program))
    assert (await database.read(find, "odd")).status is Status.ERRORED
    assert await attempts_of(database, "odd") == []


async def test_job_data_that_somebody_broke_meanwhile_are_an_error_of_their_program(
    database: Database,
) -> None:
    good, bad = await claimed(database, "good"), await claimed(database, "bad")
    await scribble(database, "bad", "job_data", '{"reserve": null}')
    with pytest.raises(RowUnreadable, match=r"job_data\.reserve is null, not an object"):
        await recorded(database, bad, Done({"receipt": 7}))
    with pytest.raises(RowUnreadable, match=r"job_data\.reserve is null"):
        await database.transact(change_job_data, [JobDataEdit(bad, "merge", {"a": 1})])
    assert await recorded(database, good, Done({"receipt": 7})) is not None


async def test_completion_of_a_row_that_cannot_be_read_is_refused(database: Database) -> None:
    await submitted(database, "run-1")
    await scribble(database, "run-1", "jobs", "[]")
    report = Report(Ticket("run-1", 0, 0, 1), Done())
    with pytest.raises(RowUnreadable, match="jobs is an empty list"):
        await database.transact(settle_callback, report, queues={})


ODD_MOMENTS = {
    "sqlite": ["'0'", "'1'", "'0000-00-00'"],
    "postgresql": ["'-infinity'", "'0044-03-15 BC'"],
    "mysql": ["'0000-00-00 00:00:00'"],
}


async def test_moment_that_is_none_keeps_nobody_from_being_woken(database: Database) -> None:
    await submitted(database, "good")
    await by_hand(database, "good", due_at=seconds_ago(database, 5))
    odd = ODD_MOMENTS[database.engine.dialect.name]
    for number, moment in enumerate(odd):
        await submitted(database, f"odd-{number}")
        async with database.engine.begin() as connection:
            statement = f"UPDATE {database.tables.programs.name} SET due_at = {moment}"
            await connection.execute(sa.text(f"{statement} WHERE run_id = 'odd-{number}'"))
    page = await database.read(find_due, jobs=["reserve"], limit=100)
    assert {row.run_id for row in page.rows} == {"good", *(f"odd-{n}" for n in range(len(odd)))}
    await database.transact(mark_woken, page.rows)
    left = await database.read(find_due, jobs=["reserve"], limit=100)
    assert "good" not in {row.run_id for row in left.rows}


async def test_labels_that_are_none_hide_no_others(database: Database) -> None:
    await submitted(database, "good", labels={"tenant": "acme"})
    await submitted(database, "odd", labels={"tenant": "acme"})
    is_postgresql = database.engine.dialect.name == "postgresql"
    await scribble(database, "odd", "labels", "[1]" if is_postgresql else "no json")
    page = await database.read(
        list_programs, Filter(labels=[("tenant", "acme")]), limit=10, cursor=None
    )
    assert [program.run_id for program in page.programs] == ["good"]
