"""Welcoming: a worker with new jobs has a long queue looked at again, a part of it at once."""

from dataclasses import replace

import pytest

from builders import a_program, by_hand, overdue, row_of, seconds_ago, submitted_all
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger import waking
from program_service.bookkeeping.ledger.waking import (
    Silence,
    find_due,
    find_unanswered,
    welcome_jobs,
)
from program_service.bookkeeping.ledger.welcoming import announce
from program_service.bookkeeping.ledger.workers import Worker, leave

JOBS = ("mail",)
BEAT_S = 5.0


def _a_worker(name: str, *jobs: str) -> Worker:
    return Worker(name, "host", "1.0.0", ["default"], jobs, 10, 0, {}, process=f"{name}~1")


async def _announced(database: Database, name: str, *jobs: str) -> None:
    """Announce a worker that has not announced these jobs before."""
    queues, worker = dict.fromkeys(jobs, "default"), _a_worker(name, *jobs)
    await database.transact(announce, queues, worker=worker, beat_s=BEAT_S)


async def _woken(database: Database, run_id: str, *, due_s: float) -> None:
    """Submit a program that is due for so long and whose wake-up is 40 s old."""
    await overdue(database, run_id, due_s, jobs=JOBS)
    await by_hand(database, run_id, woken_at=seconds_ago(database, 40))


async def test_longest_due_are_woken_at_once_and_the_rest_when_it_shows_that_they_must_be(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules R5 and R6: a restart under a long queue makes a bounded number of duplicates."""
    monkeypatch.setattr(waking, "MAX_WELCOMED", 2)
    for run_id, due_s in (("young", 50), ("oldest", 70), ("older", 60)):
        await _woken(database, run_id, due_s=due_s)
    await database.transact(welcome_jobs, {"mail": "default"}, new={"mail"})
    page = await database.read(find_due, jobs=JOBS, limit=10)
    assert [row.run_id for row in page.rows] == ["oldest", "older"]
    page = await database.read(find_unanswered, Silence("default", 30.0), jobs=JOBS, limit=10)
    assert [row.run_id for row in page.rows] == ["young"]


async def test_all_programs_of_a_job_move_to_its_new_queue(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "MAX_WELCOMED", 2)
    names = [f"run-{number}" for number in range(5)]
    await submitted_all(database, [a_program(name, jobs=JOBS, queue="old") for name in names])
    await database.transact(welcome_jobs, {"mail": "letters"}, new={"mail"})
    for name in names:
        row = await row_of(database, name)
        assert (row["queue"], row["woken_at"]) == ("letters", None)


async def test_worker_with_a_job_that_no_other_knows_has_its_programs_woken_again(
    database: Database,
) -> None:
    """Rule R5: and only then, for the wake-ups of the others are still in their queue."""
    await _woken(database, "run-1", due_s=50)
    await _announced(database, "mary", "mail")
    assert (await row_of(database, "run-1"))["woken_at"] is None
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 40))
    await _announced(database, "anna", "mail")
    assert (await row_of(database, "run-1"))["woken_at"] is not None
    # a new process of a worker that was killed: what it knew, nobody knows
    await database.transact(leave, "anna~1")
    worker = replace(_a_worker("mary", "mail"), process="mary~2")
    await database.transact(announce, {"mail": "default"}, worker=worker, beat_s=BEAT_S)
    assert (await row_of(database, "run-1"))["woken_at"] is None


async def test_repeated_announcement_welcomes_nobody_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule R4: the answer to its COMMIT was lost."""
    monkeypatch.setattr(waking, "MAX_WELCOMED", 1)
    for run_id, due_s in (("old", 60), ("young", 50)):
        await _woken(database, run_id, due_s=due_s)
    for _ in range(2):
        await _announced(database, "mary", "mail")
    assert (await row_of(database, "old"))["woken_at"] is None
    assert (await row_of(database, "young"))["woken_at"] is not None


async def test_move_to_another_queue_is_a_change_that_a_client_can_see(database: Database) -> None:
    await submitted_all(database, [a_program("run-1", jobs=JOBS, queue="old")])
    for _ in range(2):
        await database.transact(welcome_jobs, {"mail": "letters"}, new=set())
    assert (await row_of(database, "run-1"))["version"] == 2
