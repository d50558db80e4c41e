"""Odd rows: what somebody wrote into one row by hand disturbs no other row."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from builders import (
    HOUR_S,
    JOBS,
    a_claim,
    a_claimant,
    a_record,
    by_hand,
    claimed,
    overdue,
    row_of,
    submitted,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.claiming import Answer, Claim, claim
from program_service.bookkeeping.ledger.measuring import measure_backlog
from program_service.bookkeeping.ledger.notifying import Put, Untold, claim_untold, is_any_due
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.waking import find_due, mark_woken, welcome_jobs
from program_service.bookkeeping.lifecycle import Claimed, Done
from program_service.bookkeeping.stored import EARLIEST, LATEST, read_moment
from servers import on_postgresql

GREATEST = 2**31 - 1

LONG_AGO = {
    "postgresql": ["-infinity", "0044-03-15 00:00:00 BC", "0001-01-01 00:00:00+00"],
    "mysql": ["0000-00-00 00:00:00", "2024-00-10 00:00:00", "0001-01-01 00:00:00"],
    "sqlite": ["", "-infinity", "0001-01-01 00:00:00.000000", "1"],
}
"""Moments that are over for the database, and that Python has none for, or none to spare."""

NEVER = {
    "postgresql": ["infinity", "294276-12-31 00:00:00+00"],
    "mysql": ["9999-12-31 23:59:59.999999"],
    "sqlite": ["yesterday", "infinity", "9999-12-31 23:59:59.999999"],
}


async def _write(database: Database, run_id: str, column: str, moment: str) -> None:
    """Write a moment as somebody types it in psql."""
    table = database.tables.programs.name
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"UPDATE {table} SET {column} = '{moment}' WHERE run_id = '{run_id}'"
        )


def test_moments_that_python_lacks_are_read_as_the_nearest() -> None:
    for value in ("", "yesterday", "0000-00-00 00:00:00", 7, b"x", "0001-01-01 00:00:00"):
        assert read_moment(value) == EARLIEST  # type: ignore[arg-type]
    assert read_moment(LATEST.isoformat()) == LATEST


async def test_rows_due_since_long_ago_are_woken_once_like_all_others(database: Database) -> None:
    """Rules R5 and R6: they were found again at once, for ever, and nothing behind them was."""
    moments = LONG_AGO[database.engine.dialect.name]
    for number, moment in enumerate(moments):
        await submitted(database, f"odd-{number}")
        await _write(database, f"odd-{number}", "due_at", moment)
    await overdue(database, "sound", 60)
    page = await database.read(find_due, jobs=JOBS, limit=10)
    assert len(page.rows) == len(moments) + 1
    assert page.rows[-1].run_id == "sound"
    assert await database.transact(mark_woken, page.rows) == []
    assert not (await database.read(find_due, jobs=JOBS, limit=10)).rows
    claims = [a_claim(row.run_id) for row in page.rows]
    answers = await database.transact(claim, claims, a_claimant())
    assert all(isinstance(answer, Claimed) for answer in answers)


async def test_rows_with_odd_moments_are_read_like_all_others(database: Database) -> None:
    dialect = database.engine.dialect.name
    await submitted(database, "sound")
    columns = ["due_at", "created_at", "updated_at", "woken_at"]
    for number, moment in enumerate([*LONG_AGO[dialect], *NEVER[dialect]]):
        await submitted(database, f"odd-{number}")
        for column in columns:
            await _write(database, f"odd-{number}", column, moment)
        await database.read(find, f"odd-{number}")
        await row_of(database, f"odd-{number}")
    page = await database.read(list_programs, Filter(), limit=100)
    assert len(page.programs) == 1 + len(LONG_AGO[dialect]) + len(NEVER[dialect])
    await database.read(measure_backlog)


async def test_end_that_was_to_be_told_long_ago_is_told_once(database: Database) -> None:
    for number, moment in enumerate(LONG_AGO[database.engine.dialect.name]):
        await submitted(database, f"odd-{number}", notify="https://example.com")
        await database.transact(cancel, f"odd-{number}")
        await _write(database, f"odd-{number}", "notify_due_at", moment)
    seen: list[Untold] = []

    def give_up(untold: Sequence[Untold]) -> dict[int, Put]:
        seen.extend(untold)
        return {each.id: Put(again_in_s=None, tries=1) for each in untold}

    await database.transact(claim_untold, limit=10, plan=give_up)
    assert len(seen) == len(LONG_AGO[database.engine.dialect.name])
    assert not await database.read(is_any_due)


@pytest.mark.parametrize("column", ["lease_losses", "step_retry_count", "version", "step"])
@pytest.mark.parametrize("number", [GREATEST, -GREATEST])
async def test_numbers_at_their_ends_stop_no_sweep_and_no_welcome(
    database: Database, column: str, number: int
) -> None:
    """No statement that reads or changes rows of many programs adds to a number in vain."""
    await claimed(database, "odd")
    await overdue(database, "sound", 60)
    odd: dict[str, Any] = {column: number}
    await by_hand(database, "odd", **odd, due_at=EARLIEST)
    page = await database.read(find_due, jobs=JOBS, limit=10)
    assert [row.run_id for row in page.rows] == ["odd", "sound"]
    await database.transact(welcome_jobs, dict.fromkeys(JOBS, "moved"), new=JOBS)
    page = await database.read(find_due, jobs=JOBS, limit=10)
    assert await database.transact(mark_woken, page.rows) == []


async def test_version_at_its_end_is_kept_by_what_changes_many_rows(database: Database) -> None:
    await overdue(database, "odd", 60)
    await by_hand(database, "odd", version=GREATEST)
    await database.transact(welcome_jobs, dict.fromkeys(JOBS, "moved"), new=JOBS)
    row = await row_of(database, "odd")
    assert (row["version"], row["queue"]) == (GREATEST, "moved")


@on_postgresql
async def test_version_at_its_end_refuses_its_own_program_and_no_other(database: Database) -> None:
    """Invariant 12; the lease is renewed all the same, until it errors or is mended."""
    odd, sound = await claimed(database, "odd"), await claimed(database, "sound")
    await by_hand(database, "odd", version=GREATEST)
    holds = [Hold(each.id, each.lease) for each in (odd, sound)]
    renewals = await database.transact(renew, holds, lease_s=HOUR_S)
    assert set(renewals.values()) == {Renewal.RENEWED}
    records = [a_record(odd, Done()), a_record(sound, Done())]
    with pytest.raises(BatchRefused, match="out of range"):
        await database.transact(record, records)
    (answer,) = await database.transact(record, records[1:])
    assert answer is not None


async def test_claim_of_an_odd_program_fails_alone(database: Database) -> None:
    run_ids = ["sound-1", "odd", "sound-2"]
    for run_id in run_ids:
        await submitted(database, run_id)
    if database.engine.dialect.name != "sqlite":  # whose integers are as long as needed
        await by_hand(database, "odd", version=GREATEST)
    group: GroupCommit[Claim, Answer] = GroupCommit(
        lambda claims: database.transact(claim, claims, a_claimant())
    )
    committing = asyncio.create_task(group.run())
    answers = await asyncio.gather(
        *(group.add(a_claim(run_id)) for run_id in run_ids), return_exceptions=True
    )
    committing.cancel()
    assert [type(answers[0]), type(answers[2])] == [Claimed, Claimed]
    assert isinstance(answers[1], BatchRefused | Claimed)
