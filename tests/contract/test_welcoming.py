"""Welcoming: a worker with new jobs has a long queue looked at again, a part of it at once."""

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

JOBS = ("mail",)


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
