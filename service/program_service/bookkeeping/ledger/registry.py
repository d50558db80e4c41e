"""Registry: the jobs that were ever registered, and the workers that live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from program_service.bookkeeping.database import Books
from program_service.bookkeeping.dialects import Sql
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.tables import read_json, read_moment

MISSED_BEATS = 3
"""A worker that missed so many beats is gone: its jobs have no live worker."""


@dataclass(frozen=True, slots=True)
class Job:
    """A registered job; `policy` is its retry policy, {field of Retry: value}."""

    name: str
    kind: str
    queue: str
    timeout_s: float | None
    policy: Json
    created_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process; `newest_wakeups` is {queue: publishing time of the newest it claimed}."""

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


async def register_jobs(books: Books, jobs: Sequence[Job]) -> None:
    """Write down the jobs that a worker knows; what it says of them now is what holds."""
    batch: list[dict[str, Any]] = [
        {
            "new_name": job.name,
            "new_kind": job.kind,
            "new_queue": job.queue,
            "new_timeout_s": job.timeout_s,
            "new_policy": job.policy,
        }
        for job in sorted(jobs, key=lambda job: job.name)
    ]
    await books.run(_upsert_jobs, batch=batch)


async def list_jobs(books: Books) -> list[Job]:
    """List every registered job by name."""
    return [
        Job(
            name=row.name,
            kind=row.kind,
            queue=row.queue,
            timeout_s=row.timeout_s,
            policy=read_json(row.policy),
            created_at=read_moment(row.created_at),
            last_seen_at=read_moment(row.last_seen_at),
        )
        for row in await books.fetch(_select_jobs)
    ]


async def beat(books: Books, worker: Worker) -> None:
    """Note that a worker lives, and what it is doing."""
    newest = {queue: moment.isoformat() for queue, moment in worker.newest_wakeups.items()}
    await books.run(
        _upsert_worker,
        name=worker.name,
        host=worker.host,
        version=worker.version,
        queues=list(worker.queues),
        jobs=list(worker.jobs),
        slots=worker.slots,
        busy=worker.busy,
        newest=newest,
    )


async def leave(books: Books, name: str) -> None:
    """Forget a worker that has stopped."""
    await books.run(_delete_worker, name=name)


async def list_workers(books: Books, *, beat_s: float) -> list[Worker]:
    """List the workers that live: those whose last beats were not missed."""
    return [
        Worker(
            name=row.name,
            host=row.host,
            version=row.version,
            queues=read_json(row.queues),
            jobs=read_json(row.jobs),
            slots=row.slots,
            busy=row.busy,
            newest_wakeups={
                queue: datetime.fromisoformat(moment)
                for queue, moment in read_json(row.newest_wakeups).items()
            },
            started_at=read_moment(row.started_at),
            last_seen_at=read_moment(row.last_seen_at),
        )
        for row in await books.fetch(_select_workers, missed_s=-MISSED_BEATS * beat_s)
    ]


def _upsert_jobs(sql: Sql) -> str:
    batch = sql.batch(
        new_name="varchar",
        new_kind="varchar",
        new_queue="varchar",
        new_timeout_s="double precision",
        new_policy="json",
    )
    return f"""
        INSERT INTO {sql.jobs} (name, kind, queue, timeout_s, policy, created_at, last_seen_at)
        SELECT new_name, new_kind, new_queue, new_timeout_s, new_policy, {sql.clock}, {sql.clock}
          FROM {batch}
         WHERE TRUE
        {sql.dialect.or_update(["name"], ["kind", "queue", "timeout_s", "policy", "last_seen_at"])}
    """


def _select_jobs(sql: Sql) -> str:
    return f"""
        SELECT name, kind, queue, timeout_s, policy, created_at, last_seen_at
          FROM {sql.jobs} ORDER BY name
    """


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
    ]
    return f"""
        INSERT INTO {sql.workers} (
            name, host, version, queues, jobs, slots, busy, started_at, last_seen_at, newest_wakeups
        )
        VALUES (:name, :host, :version, :queues, :jobs, :slots, :busy, {sql.clock}, {sql.clock},
                :newest)
        {sql.dialect.or_update(["name"], changing)}
    """


def _delete_worker(sql: Sql) -> str:
    return f"DELETE FROM {sql.workers} WHERE name = :name"


def _select_workers(sql: Sql) -> str:
    return f"""
        SELECT name, host, version, queues, jobs, slots, busy, started_at, last_seen_at,
               newest_wakeups
          FROM {sql.workers} WHERE last_seen_at > {sql.later(":missed_s")} ORDER BY name
    """
