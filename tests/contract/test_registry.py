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
    GONE_S,
    MISSED_BEATS,
    Namesake,
    Worker,
    beat,
    find_namesakes,
    forget_gone,
    leave,
    list_workers,
    new_process,
)
from program_service.names import MAX_WORKER
from servers import Connect, on_servers

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
    process="mary~1",
    pid=7,
)


def named(name: str, process: str = "") -> Worker:
    return replace(MARY, name=name, process=process or f"{name}~1")


async def _workers(database: Database) -> list[Worker]:
    return await database.read(list_workers, beat_s=BEAT_S)


async def _last_seen(database: Database, process: str, seconds: float) -> None:
    workers = database.tables.workers
    async with database.engine.begin() as connection:
        seen = seconds_ago(database, seconds)
        await connection.execute(
            sa.update(workers).where(workers.c.name == process).values(last_seen_at=seen)
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


async def test_two_processes_of_one_name_have_a_row_each(database: Database) -> None:
    twin = replace(MARY, process="mary~2", pid=8, host="pod-8", jobs=["mail"])
    await database.transact(beat, MARY)
    await database.transact(beat, twin)
    told = [replace(each, started_at=None, last_seen_at=None) for each in await _workers(database)]
    assert told == [MARY, twin]
    await database.transact(leave, "mary~1")
    assert [each.process for each in await _workers(database)] == ["mary~2"]


def test_process_has_room_for_the_longest_name() -> None:
    assert len(new_process("n" * MAX_WORKER)) <= 255
    assert new_process("mary") != new_process("mary")


async def test_namesakes_are_those_that_live_beside_a_process(database: Database) -> None:
    """A predecessor that was killed left its row, and is none."""
    await database.transact(beat, named("mary", "mary~0"))
    await database.transact(beat, MARY)
    await database.transact(beat, named("zoe"))

    async def namesakes(process: str) -> list[Namesake]:
        return await database.read(find_namesakes, "mary", process=process)

    assert await namesakes("mary~1") == []
    await database.transact(beat, replace(MARY, process="mary~2", host="pod-8", pid=8))
    assert await namesakes("mary~1") == [Namesake("mary~2", "pod-8", 8)]
    assert await namesakes("mary~2") == []  # that has yet to beat once more
    await database.transact(beat, MARY)
    assert await namesakes("mary~2") == [Namesake("mary~1", "pod-7", 7)]


async def test_processes_that_were_killed_are_forgotten_in_the_end(database: Database) -> None:
    for name in ("killed", "alive"):
        await database.transact(beat, named(name))
    await _last_seen(database, "killed~1", GONE_S + 60)
    await database.transact(forget_gone)
    workers = await database.read(list_workers, beat_s=GONE_S)
    assert [each.name for each in workers] == ["alive"]


@on_servers  # SQLite has one writer
async def test_process_that_was_killed_and_is_locked_is_forgotten_later(connect: Connect) -> None:
    """A worker that starts waits for the row of no other."""
    database, other = connect(), connect()
    workers = database.tables.workers
    for name in ("held", "killed"):
        await database.transact(beat, named(name))
        await _last_seen(database, f"{name}~1", GONE_S + 60)
    async with other.engine.begin() as connection:
        held = sa.select(workers).where(workers.c.worker == "held").with_for_update()
        assert (await connection.execute(held)).all()
        await database.transact_past_outages(0.0, forget_gone)
    left = await database.read(list_workers, beat_s=GONE_S)
    assert [each.name for each in left] == ["held"]


async def test_worker_of_the_release_before_works_beside_one_of_its_name(
    database: Database,
) -> None:
    """It writes and deletes rows by its name, and knows no other columns."""
    await database.transact(beat, MARY)
    table = database.tables.workers
    now = seconds_ago(database, 0)
    written = sa.insert(table).values(
        name="mary", host="pod-1", version="0.0.9", queues=[], jobs=[], slots=9, busy=1,
        started_at=now, last_seen_at=now, newest_wakeups={},
    )  # fmt: skip
    async with database.engine.begin() as connection:
        await connection.execute(written)
    old, new = await _workers(database)
    assert (old.name, old.process, old.pid, new.process) == ("mary", "mary", None, "mary~1")
    found = await database.read(find_namesakes, "mary", process="mary~1")
    assert found == [Namesake("mary", "pod-1", None)]
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(table).where(table.c.name == "mary"))
    assert [each.process for each in await _workers(database)] == ["mary~1"]


async def test_worker_that_left_is_forgotten(database: Database) -> None:
    for name in ("mary", "zoe", "anna"):
        await database.transact(beat, named(name))
    await database.transact(leave, "mary~1")
    await database.transact(leave, "nobody")
    assert [worker.name for worker in await _workers(database)] == ["anna", "zoe"]


async def test_worker_is_gone_after_three_missed_beats(database: Database) -> None:
    for name in ("alive", "dead"):
        await database.transact(beat, named(name))
    await _last_seen(database, "alive~1", MISSED_BEATS * BEAT_S - 5)
    await _last_seen(database, "dead~1", MISSED_BEATS * BEAT_S)
    assert [worker.name for worker in await _workers(database)] == ["alive"]
    await database.transact(beat, named("dead"))
    assert [worker.name for worker in await _workers(database)] == ["alive", "dead"]


async def test_beats_may_be_shorter_than_a_second(database: Database) -> None:
    await database.transact(beat, MARY)
    await _last_seen(database, "mary~1", 0.7)
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
