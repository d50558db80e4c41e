"""Waking again: wake-ups that brought no claim, and only those (rule R6)."""

from datetime import timedelta

import pytest

from builders import JOBS, WORKER, by_hand, claimed, overdue, row_of, seconds_ago
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.waking import (
    Silence,
    find_unanswered,
    mark_woken,
    queues_with_unanswered,
)

SECOND = timedelta(seconds=1)


async def _unanswered(
    database: Database, silence: Silence, *, jobs: tuple[str, ...] = JOBS, limit: int = 100
) -> list[str]:
    page = await database.read(find_unanswered, silence, jobs=jobs, limit=limit)
    return [row.run_id for row in page.rows]


async def test_wakeup_without_a_claim_is_suspected_after_the_silence(database: Database) -> None:
    """Rule R6: with or without a lease, oldest first."""
    for run_id, woken_s in (("lost", 40), ("recent", 20), ("dead", 60)):
        await overdue(database, run_id, woken_s + 1)
        await by_hand(database, run_id, woken_at=seconds_ago(database, woken_s))
    await by_hand(database, "dead", lease="0" * 32, claimed_by=WORKER)
    await overdue(database, "never woken", 100)
    silence = Silence("default", 30.0)
    assert await _unanswered(database, silence) == ["dead", "lost"]
    assert await _unanswered(database, silence, limit=1) == ["dead"]
    assert await _unanswered(database, silence, jobs=("mail",)) == []
    assert await _unanswered(database, Silence("other", 30.0)) == []
    assert await database.read(queues_with_unanswered, silence_s=30.0) == ["default"]
    assert await database.read(queues_with_unanswered, silence_s=300.0) == []


async def test_wakeups_younger_than_the_newest_claimed_one_are_still_queued(
    database: Database,
) -> None:
    """Rule R6: a long queue alone never makes duplicates."""
    for run_id, woken_s in (("overtaken", 60), ("queued", 40)):
        await overdue(database, run_id, 100)
        await by_hand(database, run_id, woken_at=seconds_ago(database, woken_s))
    newest = (await row_of(database, "overtaken"))["woken_at"] + SECOND
    assert await _unanswered(database, Silence("default", 30.0, since=newest)) == ["overtaken"]
    assert await _unanswered(database, Silence("default", 30.0, since=newest - SECOND)) == []


@pytest.mark.parametrize("ended", ["finished_at", "errored_at"])
async def test_what_has_ended_is_not_waited_for(database: Database, ended: str) -> None:
    """Rule R6."""
    await overdue(database, "run-1", 100)
    woken, now = seconds_ago(database, 90), seconds_ago(database, 0)
    await by_hand(database, "run-1", woken_at=woken, **{ended: now})
    assert await _unanswered(database, Silence("default", 30.0)) == []
    assert await database.read(queues_with_unanswered, silence_s=30.0) == []


async def test_program_that_is_held_is_not_waited_for(database: Database) -> None:
    await claimed(database, "run-1")
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 90))
    assert await _unanswered(database, Silence("default", 30.0)) == []
    assert await database.read(queues_with_unanswered, silence_s=30.0) == []


async def test_waking_again_sets_the_mark_anew(database: Database) -> None:
    """Rule R6."""
    await overdue(database, "run-1", 100)
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 90))
    page = await database.read(find_unanswered, Silence("default", 30.0), jobs=JOBS, limit=10)
    await database.transact(mark_woken, page.rows)
    assert (await row_of(database, "run-1"))["woken_at"] >= page.read_at
    assert await _unanswered(database, Silence("default", 30.0)) == []
