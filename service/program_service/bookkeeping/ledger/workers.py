"""Workers: those that live, and what they said of themselves when they last beat.

A row belongs to a process. Its key is the column `name`, which a worker of the release before fills
with its name, and which nobody else can have: two workers of one name have two rows.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.auditing import Entry, write_if_given
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.registrations import read_each
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.stored import EARLIEST
from program_service.bookkeeping.tables import read_json, read_moment, require_moment

MISSED_BEATS = 3
"""A worker that missed so many beats is gone: its jobs have no live worker."""

GONE_S = 3_600.0
"""When a process that took no leave is forgotten: it was killed, and no other has its key."""

FORGOTTEN_AT_ONCE = 1_000

PROCESS_CHARACTERS = 8

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""Both moments are the database's; after a failover it may be another server's clock."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process; `newest_wakeups` is {queue: publishing time of the newest it claimed}.

    `endpoints` tells of its calls: breakers that are not closed, and calls that run, by job.
    """

    name: str
    host: str
    version: str
    queues: Sequence[str]
    jobs: Sequence[str]
    slots: int
    busy: int
    newest_wakeups: Mapping[str, datetime]
    started_at: datetime | None = None
    last_seen_at: datetime | None = None
    endpoints: Json = field(default_factory=dict)
    process: str = ""
    """The key of its row; its name, while that is all that it said."""
    pid: int | None = None
    is_draining: bool = False
    """Whether somebody requested that it take no more programs."""


@dataclass(frozen=True, slots=True)
class Namesake:
    """Another live process with the name of a worker."""

    process: str
    host: str
    pid: int | None


def new_process(name: str) -> str:
    """Make the key of a process whose worker has this name."""
    return f"{name}~{secrets.token_hex(PROCESS_CHARACTERS // 2)}"


async def beat(books: Books, worker: Worker) -> None:
    """Note that a worker lives, and what it is doing."""
    newest = {queue: moment.isoformat() for queue, moment in worker.newest_wakeups.items()}
    await books.run(
        _upsert_worker,
        name=worker.process or worker.name,
        worker=worker.name,
        pid=worker.pid,
        host=worker.host,
        version=worker.version,
        queues=list(worker.queues),
        jobs=list(worker.jobs),
        slots=worker.slots,
        busy=worker.busy,
        newest=newest,
        endpoints=worker.endpoints,
    )


async def request_drain(books: Books, process: str, entry: Entry | None = None) -> bool:
    """Request that a process take no more programs; return False if there is no such process."""
    await books.run(_request_drain, name=process)
    is_there = bool(await books.fetch(_select_drain, name=process))
    if is_there:
        await write_if_given(books, entry)
    return is_there


async def is_drain_requested(books: Books, process: str) -> bool:
    """Return whether a process is to take no more programs."""
    rows = await books.fetch(_select_drain, name=process)
    return any(row.drain_requested_at is not None for row in rows)


async def leave(books: Books, process: str) -> None:
    """Forget a process that has stopped."""
    await books.run(_delete_worker, name=process)


async def forget_gone(books: Books) -> None:
    """Forget the processes that were killed, which took no leave; those that are locked stay."""
    for row in await books.fetch(_lock_gone, gone_s=-GONE_S):
        await books.run(_delete_worker, name=row.name)


async def find_namesakes(books: Books, name: str, *, process: str) -> list[Namesake]:
    """Find the processes that have beaten under a worker's name since its own process started."""
    rows = await books.fetch(_select_namesakes, worker=name, name=process)
    return [Namesake(row.name, row.host, row.pid) for row in rows]


async def list_workers(books: Books, *, beat_s: float) -> list[Worker]:
    """List the workers that live: those whose last beats were not missed."""
    ahead_s = CLOCKS_DIFFER_BY.total_seconds()
    rows = await books.fetch(_select_workers, missed_s=-MISSED_BEATS * beat_s, ahead_s=ahead_s)
    return read_each("worker", rows, _worker)


_WORKER = TypeAdapter(Worker)
_DOCUMENT: TypeAdapter[Json] = TypeAdapter(Json)


def _worker(row: Any) -> Worker:
    last_seen_at = require_moment(row.last_seen_at)
    wakeups = _DOCUMENT.validate_python(read_json(row.newest_wakeups))
    endpoints = _DOCUMENT.validate_python(read_json(row.endpoints) or {})
    return _WORKER.validate_python(
        row._asdict()
        | {
            "name": row.worker or row.name,
            "process": row.name,
            "is_draining": row.drain_requested_at is not None,
            "queues": read_json(row.queues),
            "jobs": read_json(row.jobs),
            "newest_wakeups": _moments_until(last_seen_at + CLOCKS_DIFFER_BY, wakeups),
            "started_at": read_moment(row.started_at),
            "last_seen_at": last_seen_at,
            # each is an object; a newer release may report something else besides
            "endpoints": {
                name: value for name, value in endpoints.items() if isinstance(value, dict)
            },
        }
    )


def _moments_until(latest: datetime, stored: Mapping[str, Any]) -> dict[str, datetime]:
    """Read {queue: moment} without what is no moment, or later than it can be.

    A wake-up "of the year 9999" would make every program that waits look forgotten.
    """
    moments = {queue: require_moment(text) for queue, text in stored.items()}
    # what is no moment is read as the earliest
    return {queue: moment for queue, moment in moments.items() if EARLIEST < moment <= latest}


def _upsert_worker(sql: Sql) -> str:
    changing = [
        "host",
        "version",
        "queues",
        "jobs",
        "slots",
        "busy",
        "last_seen_at",
        "newest_wakeups",
        "endpoints",
        "worker",
        "pid",
    ]
    return f"""
        INSERT INTO {sql.workers} (
            name, host, version, queues, jobs, slots, busy, started_at, last_seen_at,
            newest_wakeups, endpoints, worker, pid
        )
        VALUES (:name, :host, :version, :queues, :jobs, :slots, :busy, {sql.clock}, {sql.clock},
                :newest, :endpoints, :worker, :pid)
        {sql.dialect.or_update(["name"], changing)}
    """


def _request_drain(sql: Sql) -> str:
    return f"""
        UPDATE {sql.workers} SET drain_requested_at = COALESCE(drain_requested_at, {sql.clock})
         WHERE name = :name
    """


def _select_drain(sql: Sql) -> str:
    return f"SELECT drain_requested_at FROM {sql.workers} WHERE name = :name"


def _delete_worker(sql: Sql) -> str:
    return f"DELETE FROM {sql.workers} WHERE name = :name"


def _lock_gone(sql: Sql) -> str:
    return f"""
        SELECT name FROM {sql.workers} WHERE last_seen_at < {sql.later(":gone_s")}
         ORDER BY name LIMIT {FORGOTTEN_AT_ONCE} {sql.dialect.lock_unlocked}
    """


def _select_namesakes(sql: Sql) -> str:
    # a predecessor that was killed has its row still, and has not beaten since
    return f"""
        SELECT namesake.name, namesake.host, namesake.pid
          FROM {sql.workers} namesake JOIN {sql.workers} this ON this.name = :name
         WHERE COALESCE(namesake.worker, namesake.name) = :worker
           AND namesake.name <> this.name AND namesake.last_seen_at > this.started_at
         ORDER BY namesake.name
    """


def _select_workers(sql: Sql) -> str:
    return f"""
        SELECT name, host, version, queues, jobs, slots, busy, started_at, last_seen_at,
               newest_wakeups, endpoints, worker, pid, drain_requested_at
          FROM {sql.workers}
         WHERE last_seen_at > {sql.later(":missed_s")} AND last_seen_at < {sql.later(":ahead_s")}
         ORDER BY name
    """
