"""Reading: one program, pages of them, their attempts, and the counts that gauges show."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from builders import (
    HOUR_S,
    a_failure,
    a_program,
    attempts_of,
    by_hand,
    claimed,
    lapse,
    later,
    reclaimed,
    row_of,
    seconds_ago,
    stands,
    submitted,
    submitted_all,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.ledger.attempts import list_attempts
from program_service.bookkeeping.ledger.measuring import Backlog, measure_backlog
from program_service.bookkeeping.ledger.pages import BadCursor
from program_service.bookkeeping.ledger.reading import (
    Filter,
    Standing,
    find,
    list_programs,
    standings,
)
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Done, Fail, Status

STRANGE = ["nobody", "", "%", "\N{SNOWMAN}", "x" * 300]


async def _listed(database: Database, **wanted: Any) -> list[str]:
    page = await database.read(list_programs, Filter(is_oldest_first=True, **wanted), limit=100)
    assert page.next_cursor is None
    return [program.run_id for program in page.programs]


@pytest.mark.parametrize("run_id", STRANGE)
async def test_program_that_nobody_submitted_is_not_found(database: Database, run_id: str) -> None:
    await submitted(database, "run-1")
    with pytest.raises(ProgramNotFound):
        await database.read(find, run_id)
    with pytest.raises(ProgramNotFound):
        await database.read(list_attempts, run_id)


async def test_found_program_shows_the_row(database: Database) -> None:
    await claimed(database, "run-1", labels={"tenant": "acme"})
    program = await database.read(find, "run-1")
    row = await row_of(database, "run-1")
    for name in set(program.__slots__) - {"status"}:
        assert getattr(program, name) == row[name]


@pytest.mark.parametrize("is_oldest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26])
async def test_pages_have_no_gaps_and_no_doubles(
    database: Database, limit: int, *, is_oldest_first: bool
) -> None:
    run_ids = [f"run-{number:02}" for number in range(25)]
    for run_id in run_ids:
        await submitted(database, run_id)
    wanted, cursor, seen = Filter(is_oldest_first=is_oldest_first), None, []
    for _ in range(26):
        page = await database.read(list_programs, wanted, limit=limit, cursor=cursor)
        seen.append([program.run_id for program in page.programs])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert all(len(page) == limit for page in seen[:-1])
    assert 0 < len(seen[-1]) <= limit
    shown = [run_id for page in seen for run_id in page]
    assert shown == (run_ids if is_oldest_first else run_ids[::-1])


async def test_page_does_not_shift_when_programs_come_meanwhile(database: Database) -> None:
    for number in range(6):
        await submitted(database, f"run-{number}")
    first = await database.read(list_programs, Filter(), limit=3)
    await submitted(database, "run-6")
    second = await database.read(list_programs, Filter(), limit=3, cursor=first.next_cursor)
    assert [program.run_id for program in second.programs] == ["run-2", "run-1", "run-0"]
    assert second.next_cursor is None


async def test_pages_keep_to_their_filter(database: Database) -> None:
    for number in range(9):
        await submitted(database, f"run-{number}", queue="odd" if number % 2 else "even")
    wanted = Filter(queue="odd", is_oldest_first=True)
    first = await database.read(list_programs, wanted, limit=2)
    second = await database.read(list_programs, wanted, limit=2, cursor=first.next_cursor)
    assert [each.run_id for each in (*first.programs, *second.programs)] == [
        "run-1", "run-3", "run-5", "run-7",
    ]  # fmt: skip


async def test_list_of_nothing_is_empty(database: Database) -> None:
    page = await database.read(list_programs, Filter(), limit=10)
    assert (page.programs, page.next_cursor) == ([], None)


async def test_cursor_of_somebody_else_is_refused(database: Database) -> None:
    with pytest.raises(BadCursor):
        await database.read(list_programs, Filter(), limit=10, cursor="not-ours")


async def test_filter_by_job_is_by_the_current_one(database: Database) -> None:
    await submitted(database, "first")
    await submitted(database, "second", jobs=["ship", "reserve"])
    assert await _listed(database, job="reserve") == ["first"]
    assert await _listed(database, job="ship") == ["second"]
    assert await _listed(database, job="mail") == []


async def test_filter_by_queue(database: Database) -> None:
    await submitted(database, "here", queue="default")
    await submitted(database, "there", queue="parcels")
    assert await _listed(database, queue="parcels") == ["there"]


async def test_filter_by_retries(database: Database) -> None:
    for count in range(3):
        await submitted(database, f"tried-{count}")
        await by_hand(database, f"tried-{count}", step_retry_count=count)
    assert await _listed(database, step_retry_count_gte=1) == ["tried-1", "tried-2"]
    assert await _listed(database, step_retry_count_gte=0) == ["tried-0", "tried-1", "tried-2"]
    assert await _listed(database, step_retry_count_gte=2**31 - 1) == []


async def test_filter_by_the_time_of_the_submit(database: Database) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for hours in range(3):
        await submitted(database, f"at-{hours}")
        await by_hand(database, f"at-{hours}", created_at=noon + timedelta(hours=hours))
    one = noon + timedelta(hours=1)
    assert await _listed(database, created_after=one) == ["at-2"]
    assert await _listed(database, created_before=one) == ["at-0"]
    microsecond = timedelta(microseconds=1)
    assert await _listed(
        database, created_after=one - microsecond, created_before=one + microsecond
    ) == ["at-1"]


async def test_filter_by_progress_leaves_out_what_has_ended(database: Database) -> None:
    await submitted(database, "pending")
    await claimed(database, "running")
    await submitted(database, "cancelled")
    await database.transact(cancel, "cancelled")
    await stands(database, await claimed(database, "errored"), Fail(a_failure()))
    await stands(database, await claimed(database, "finished", jobs=["ship"]), Done())
    assert await _listed(database, is_in_progress=True) == ["pending", "running"]
    assert len(await _listed(database)) == 5


async def test_filters_are_all_to_be_met(database: Database) -> None:
    await submitted(database, "both", queue="parcels", labels={"tenant": "acme"})
    await submitted(database, "queue", queue="parcels", labels={"tenant": "other"})
    await submitted(database, "label", labels={"tenant": "acme"})
    assert await _listed(database, queue="parcels", labels=[("tenant", "acme")]) == ["both"]
    wanted = {"queue": "parcels", "status": Status.PENDING, "job": "reserve"}
    assert await _listed(database, **wanted) == ["both", "queue"]


async def test_attempts_come_in_the_order_of_their_ends(database: Database) -> None:
    await claimed(database, "run-1")
    await stands(database, await reclaimed(database, "run-1"), later("one"))
    program = await reclaimed(database, "run-1")
    await stands(database, program, Done(), is_next_mine=False)
    await stands(database, await reclaimed(database, "run-1"), Fail(a_failure("two")))
    attempts = await attempts_of(database, "run-1")
    assert [(each.step, each.attempt, each.outcome) for each in attempts] == [
        (0, 1, "lost"),
        (0, 2, "retry"),
        (0, 3, "done"),
        (1, 1, "failed"),
    ]
    await submitted(database, "run-2")
    assert await attempts_of(database, "run-2") == []


async def test_standings_are_for_those_who_wait(database: Database) -> None:
    await submitted(database, "run-1")
    await submitted(database, "run-2")
    await claimed(database, "007")
    await database.transact(cancel, "run-2")
    known = await database.read(standings, ["run-1", "run-2", "007", "nobody", "run-1"])
    assert known == {
        "run-1": Standing(1, has_ended=False),
        "run-2": Standing(2, has_ended=True),
        "007": Standing(2, has_ended=False),
    }
    assert await database.read(standings, []) == {}


async def test_open_programs_are_counted_by_status(database: Database) -> None:
    assert await database.read(measure_backlog) == Backlog({}, {})
    await submitted_all(database, [a_program() for _ in range(3)])
    await claimed(database)
    await submitted(database, "cancelled")
    await database.transact(cancel, "cancelled")
    await submitted(database, "scheduled")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    assert (await database.read(measure_backlog)).counts == {
        Status.PENDING: 3,
        Status.RUNNING: 1,
        Status.SCHEDULED: 1,
    }


async def test_oldest_due_program_of_each_queue_is_the_one_that_ages(database: Database) -> None:
    for run_id, queue, seconds in (("a", "default", 100), ("b", "default", 10), ("c", "x", 50)):
        await submitted(database, run_id, queue=queue)
        await by_hand(database, run_id, due_at=seconds_ago(database, seconds))
    await claimed(database, "held")
    await submitted(database, "scheduled", queue="later")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    ages = (await database.read(measure_backlog)).due_ages_s
    assert set(ages) == {"default", "x"}
    assert 100 <= ages["default"] < 160
    assert 50 <= ages["x"] < 100


async def test_program_whose_lease_lapsed_is_due_as_any_other(database: Database) -> None:
    """While nobody claims it, nobody works."""
    await claimed(database, "held")
    await lapse(database, "held")
    assert (await database.read(measure_backlog)).due_ages_s["default"] > 0


async def test_row_that_somebody_deleted_is_not_found(database: Database) -> None:
    await submitted(database, "run-1")
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(database.tables.programs))
    with pytest.raises(ProgramNotFound):
        await database.read(find, "run-1")
