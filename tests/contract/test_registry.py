"""Registry: which jobs were ever registered, and which workers live."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from builders import clock_of, seconds_ago
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.ledger.registry import Job, list_jobs, register_jobs
from program_service.bookkeeping.ledger.workers import (
    MISSED_BEATS,
    Worker,
    beat,
    leave,
    list_workers,
)

BEAT_S = 5.0
SHIP = Job("ship", "in-process", "parcels", 2.5, {"max_attempts": 3, "jitter": "none"})
MAIL = Job("mail", "in_process", "default", None, {})
WOKEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MARY = Worker(
    name="mary",
    host="pod-7",
    version="1.2.3",
    queues=["default", "parcels"],
    jobs=["mail", "ship", "ψ" * 255],
    slots=100,
    busy=7,
    newest_wakeups={"parcels": WOKEN},
)


async def _workers(database: Database) -> list[Worker]:
    return await database.read(list_workers, beat_s=BEAT_S)


async def _last_seen(database: Database, name: str, seconds: float) -> None:
    workers = database.tables.workers
    async with database.engine.begin() as connection:
        seen = seconds_ago(database, seconds)
        await connection.execute(
            sa.update(workers).where(workers.c.name == name).values(last_seen_at=seen)
        )


def _told(job: Job) -> Job:
    return replace(job, created_at=None, last_seen_at=None)


async def test_registered_jobs_are_listed_by_name(database: Database) -> None:
    before = await database.read(clock_of)
    await database.transact(register_jobs, [SHIP, MAIL])
    jobs = await database.read(list_jobs)
    assert [_told(job) for job in jobs] == [MAIL, SHIP]
    for job in jobs:
        assert job.created_at is not None
        assert job.last_seen_at is not None
        assert before < job.created_at <= job.last_seen_at


async def test_what_a_worker_says_of_its_job_now_is_what_holds(database: Database) -> None:
    await database.transact(register_jobs, [SHIP, MAIL])
    mail, ship = await database.read(list_jobs)
    changed = Job("ship", "in_process", "default", None, {"max_attempts": 9})
    await database.transact(register_jobs, [changed])
    still, anew = await database.read(list_jobs)
    assert still == mail
    assert _told(anew) == changed
    assert anew.created_at == ship.created_at
    assert ship.last_seen_at is not None
    assert anew.last_seen_at is not None
    assert anew.last_seen_at > ship.last_seen_at


async def test_thousand_jobs_are_registered_at_once(database: Database) -> None:
    jobs = [replace(SHIP, name=f"{number:03}" + "ψ" * 252) for number in range(1_000)]
    await database.transact(register_jobs, jobs[::-1])
    assert [_told(job) for job in await database.read(list_jobs)] == jobs
    await database.transact(register_jobs, [])
    assert len(await database.read(list_jobs)) == 1_000


async def test_worker_that_beats_is_listed_with_all_that_it_said(database: Database) -> None:
    before = await database.read(clock_of)
    await database.transact(beat, MARY)
    (worker,) = await _workers(database)
    assert replace(worker, started_at=None, last_seen_at=None) == MARY
    assert worker.started_at is not None
    assert worker.last_seen_at is not None
    assert before < worker.started_at <= worker.last_seen_at


async def test_next_beat_says_what_is_new(database: Database) -> None:
    await database.transact(beat, MARY)
    (first,) = await _workers(database)
    newer = replace(MARY, jobs=["mail"], queues=["default"], slots=50, busy=50)
    newer = replace(newer, newest_wakeups={"parcels": WOKEN + timedelta(seconds=1)})
    await database.transact(beat, newer)
    (second,) = await _workers(database)
    assert replace(second, started_at=None, last_seen_at=None) == newer
    assert second.started_at == first.started_at
    assert first.last_seen_at is not None
    assert second.last_seen_at is not None
    assert second.last_seen_at > first.last_seen_at


async def test_worker_that_came_back_under_its_old_name_shows_its_new_version(
    database: Database,
) -> None:
    """A stateful pod that was killed left no word: its row still stands."""
    await database.transact(beat, MARY)
    upgraded = replace(MARY, version="2.0.0", host="pod-8", newest_wakeups={})
    await database.transact(beat, upgraded)
    (worker,) = await _workers(database)
    assert replace(worker, started_at=None, last_seen_at=None) == upgraded


async def test_worker_that_left_is_forgotten(database: Database) -> None:
    for name in ("mary", "zoe", "anna"):
        await database.transact(beat, replace(MARY, name=name))
    await database.transact(leave, "mary")
    await database.transact(leave, "nobody")
    assert [worker.name for worker in await _workers(database)] == ["anna", "zoe"]


async def test_worker_is_gone_after_three_missed_beats(database: Database) -> None:
    for name in ("alive", "dead"):
        await database.transact(beat, replace(MARY, name=name))
    await _last_seen(database, "alive", MISSED_BEATS * BEAT_S - 5)
    await _last_seen(database, "dead", MISSED_BEATS * BEAT_S)
    assert [worker.name for worker in await _workers(database)] == ["alive"]
    await database.transact(beat, replace(MARY, name="dead"))
    assert [worker.name for worker in await _workers(database)] == ["alive", "dead"]


async def test_beats_may_be_shorter_than_a_second(database: Database) -> None:
    await database.transact(beat, MARY)
    await _last_seen(database, "mary", 0.7)
    assert await database.read(list_workers, beat_s=0.2) == []


async def test_directory_reads_again_when_a_name_is_missing(database: Database) -> None:
    directory = JobDirectory(database)
    assert await directory.queues(["ship"]) == {}
    await database.transact(register_jobs, [SHIP, MAIL])
    assert await directory.queues(["ship", "walk"]) == {"ship": "parcels"}
    assert set(directory.names) == {"ship", "mail"}


async def test_directory_remembers_for_a_moment(database: Database) -> None:
    await database.transact(register_jobs, [SHIP])
    directory = JobDirectory(database)
    assert await directory.queues(["ship"]) == {"ship": "parcels"}
    await database.transact(register_jobs, [replace(SHIP, queue="default")])
    statements: list[Any] = []
    sa.event.listen(
        database.engine.sync_engine,
        "before_cursor_execute",
        lambda *executed: statements.append(executed),
    )
    assert await directory.queues(["ship"]) == {"ship": "parcels"}
    assert statements == []
