"""Waking: who is to be woken, and the note that it was done (rules R5 and R6)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from builders import (
    HOUR_S,
    JOBS,
    WORKER,
    a_failure,
    a_program,
    by_hand,
    claimed,
    lapse,
    overdue,
    reclaimed,
    row_of,
    seconds_ago,
    stands,
    submitted,
    submitted_all,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.waking import (
    Due,
    DuePage,
    find_due,
    find_moved,
    mark_woken,
    welcome_jobs,
)
from program_service.bookkeeping.lifecycle import Claimed, Done, Fail

SECOND = timedelta(seconds=1)


async def _due(database: Database, *, jobs: tuple[str, ...] = JOBS, limit: int = 100) -> DuePage:
    return await database.read(find_due, jobs=jobs, limit=limit)


async def _due_run_ids(database: Database, **which: Any) -> list[str]:
    return [row.run_id for row in (await _due(database, **which)).rows]


async def test_due_programs_are_found_oldest_first(database: Database) -> None:
    for run_id, seconds in (("late", 5), ("latest", 50), ("later", 20)):
        await overdue(database, run_id, seconds, queue=f"of-{run_id}")
    page = await _due(database)
    assert [row.run_id for row in page.rows] == ["latest", "later", "late"]
    assert [row.queue for row in page.rows] == ["of-latest", "of-later", "of-late"]
    stored = await row_of(database, "latest")
    assert (page.rows[0].id, page.rows[0].due_at) == (stored["id"], stored["due_at"])
    assert page.rows[0].due_at < page.read_at
    assert await _due_run_ids(database, limit=2) == ["latest", "later"]


async def test_relay_has_a_second_before_the_sweeper(database: Database) -> None:
    """Rule R5."""
    await submitted_all(database, [a_program() for _ in range(50)])
    page = await _due(database)
    assert all(page.read_at - row.due_at >= SECOND for row in page.rows)


async def test_what_somebody_was_woken_for_is_not_found_again(database: Database) -> None:
    """Rule R5."""
    await overdue(database, "run-1")
    page = await _due(database)
    await database.transact(mark_woken, page.rows)
    row = await row_of(database, "run-1")
    assert row["woken_at"] >= page.read_at
    assert row["version"] == 1
    assert await _due_run_ids(database) == []


def _moved(row: Due, queue: str) -> Due:
    """Return a row whose job is in this queue by now."""
    return replace(row, queue=queue, former_queue=row.queue)


async def test_mark_says_in_which_queue_it_was_woken(database: Database) -> None:
    """That is a change that a client can see; the mark alone is none."""
    await overdue(database, "moved", queue="old")
    await overdue(database, "stays", queue="new")
    page = await _due(database)
    await database.transact(mark_woken, [_moved(row, "new") for row in page.rows])
    for run_id, version in (("moved", 2), ("stays", 1)):
        row = await row_of(database, run_id)
        assert (row["queue"], row["version"]) == ("new", version)
        assert row["woken_at"] is not None


async def test_row_that_was_woken_in_a_former_queue_of_its_job_is_found(database: Database) -> None:
    for run_id, queue, woken_s in (("moved", "old", 3), ("stays", "new", 3), ("unwoken", "old", 0)):
        await overdue(database, run_id, jobs=["mail"], queue=queue)
        if woken_s:
            await by_hand(database, run_id, woken_at=seconds_ago(database, woken_s))
    await overdue(database, "unknown", jobs=["ship"], queue="old")
    await by_hand(database, "unknown", woken_at=seconds_ago(database, 3))
    page = await database.read(find_moved, {"mail": "new", "sign": "old"}, limit=10)
    assert [(row.run_id, row.job) for row in page.rows] == [("moved", "mail")]
    await database.transact(mark_woken, [_moved(row, "new") for row in page.rows])
    assert (await database.read(find_moved, {"mail": "new"}, limit=10)).rows == []


async def test_mark_is_not_set_when_due_at_has_changed_since(database: Database) -> None:
    """Rule R5: somebody claimed and gave back meanwhile; that due_at needs its own wake-up."""
    await overdue(database, "run-1")
    await overdue(database, "run-2")
    page = await _due(database)
    await by_hand(database, "run-1", due_at=seconds_ago(database, 5))
    await database.transact(mark_woken, page.rows)
    assert (await row_of(database, "run-1"))["woken_at"] is None
    assert (await row_of(database, "run-2"))["woken_at"] is not None
    assert await _due_run_ids(database) == ["run-1"]


async def test_mark_is_not_set_when_the_queue_has_changed_since(database: Database) -> None:
    """Its wake-up is in a queue where nobody looks any more; this one needs another."""
    await overdue(database, "run-1", queue="old")
    page = await _due(database)
    await by_hand(database, "run-1", queue="new")
    await database.transact(mark_woken, page.rows)
    row = await row_of(database, "run-1")
    assert (row["queue"], row["woken_at"]) == ("new", None)


async def test_mark_is_not_set_on_what_has_ended(database: Database) -> None:
    """Invariant 6."""
    await overdue(database, "run-1")
    page = await _due(database)
    await database.transact(cancel, "run-1")
    before = await row_of(database, "run-1")
    await database.transact(mark_woken, page.rows)
    assert await row_of(database, "run-1") == before


async def test_only_jobs_of_live_workers_are_woken(database: Database) -> None:
    """Rule R5, invariant 10: it stays pending, visibly."""
    await overdue(database, "known", jobs=["ship"])
    await overdue(database, "unknown", jobs=["mail", "ship"])
    assert await _due_run_ids(database) == ["known"]
    assert await _due_run_ids(database, jobs=("mail",)) == ["unknown"]
    assert await _due_run_ids(database, jobs=("mail", "ship")) == ["known", "unknown"]
    assert await _due_run_ids(database, jobs=()) == []


async def test_neither_the_future_nor_the_past_is_woken(database: Database) -> None:
    await overdue(database, "cancelled")
    await database.transact(cancel, "cancelled")
    await stands(database, await claimed(database, "errored"), Fail(a_failure()))
    await lapse(database, "errored")
    await stands(database, await claimed(database, "finished", jobs=["ship"]), Done())
    await submitted(database, "scheduled")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    await claimed(database, "running")
    assert await _due_run_ids(database) == []


async def test_lapsed_lease_is_found_and_suspected(database: Database) -> None:
    """Rule R11: it is woken alone, so that it can take no neighbour along."""
    await claimed(database, "run-1")
    await by_hand(database, "run-1", due_at=seconds_ago(database, 5))
    (row,) = (await _due(database)).rows
    assert row.is_suspect


async def test_program_that_lost_a_lease_in_this_step_stays_suspect(database: Database) -> None:
    """Rule R11."""
    await claimed(database, "run-1")
    program = await reclaimed(database, "run-1")
    await by_hand(database, "run-1", lease=None, due_at=seconds_ago(database, 5))
    assert [row.is_suspect for row in (await _due(database)).rows] == [True]
    await by_hand(database, "run-1", lease=program.lease)
    await stands(database, program, Done(), is_next_mine=False)
    await by_hand(database, "run-1", due_at=seconds_ago(database, 5))
    assert [row.is_suspect for row in (await _due(database)).rows] == [False]


async def test_callback_past_its_deadline_is_found(database: Database) -> None:
    await overdue(database, "run-1")
    await by_hand(database, "run-1", awaiting=1)
    assert await _due_run_ids(database) == ["run-1"]


async def test_thousand_due_programs_are_found_and_marked_at_once(database: Database) -> None:
    programs = [a_program(f"run-{number:04}") for number in range(1_000)]
    await submitted_all(database, programs)
    table = database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(table.update().values(due_at=seconds_ago(database, 5)))
    page = await _due(database, limit=1_000)
    assert sorted(row.run_id for row in page.rows) == [each.run_id for each in programs]
    await database.transact(mark_woken, page.rows)
    assert await _due_run_ids(database) == []


async def test_new_worker_is_woken_for_what_was_dropped_as_nobodys(database: Database) -> None:
    """Rule R5, invariant 10."""
    for run_id, job in (("mine", "mail"), ("other", "ship"), ("held", "mail")):
        await overdue(database, run_id, jobs=[job])
        await by_hand(database, run_id, woken_at=seconds_ago(database, 3))
    await by_hand(database, "held", lease="0" * 32, claimed_by=WORKER)
    before = {name: await row_of(database, name) for name in ("other", "held")}
    await database.transact(welcome_jobs, {"mail": "default"}, new={"mail"})
    assert await _due_run_ids(database, jobs=("mail", "ship")) == ["mine"]
    assert {name: await row_of(database, name) for name in before} == before


async def test_worker_of_known_jobs_wakes_nobody_again(database: Database) -> None:
    """Rule R6: their wake-ups are in the queue still, and a doubled one would help nobody."""
    await overdue(database, "run-1", jobs=["mail"])
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 3))
    before = await row_of(database, "run-1")
    await database.transact(welcome_jobs, {"mail": "default"}, new={"ship"})
    assert await row_of(database, "run-1") == before


async def test_programs_follow_a_job_to_its_new_queue(database: Database) -> None:
    await submitted(database, "due", jobs=["mail"], queue="old")
    await submitted(database, "scheduled", jobs=["mail"], queue="old")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    await submitted(database, "cancelled", jobs=["mail"], queue="old")
    await database.transact(cancel, "cancelled")
    queues_of = {"mail": "letters", "ship": "parcels"}
    await database.transact(welcome_jobs, queues_of, new=set())
    queues = [(await row_of(database, name))["queue"] for name in ("due", "scheduled", "cancelled")]
    assert queues == ["letters", "letters", "old"]
    assert isinstance(await try_claim(database, "due", knows=["mail"]), Claimed)
