"""Wake: find what is due and nobody was woken for, and mark what was woken (rules R5 and R6).

A row's `queue` is where it was woken last, or where its job was when it was written. Where to wake
next is for the waker to determine, by the registry: the job may have moved to another queue since.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import require_moment

NEVER = datetime(9999, 1, 1, tzinfo=UTC)

RELAY_TIME_S = 1.0
"""The relay's head start: the sweeper takes only what has been due, unwoken, for longer."""

MAX_WELCOMED = 10_000
"""Rows that are woken again at once for a worker with new jobs. All 200,000 of a long queue took
13 s on a busy machine, in which nobody could claim them, and doubled the queue at each restart."""


@dataclass(frozen=True, slots=True)
class Due:
    """A row to wake somebody for; `due_at` as it was read, so that a later change is noticed."""

    id: int
    run_id: str
    queue: str
    due_at: datetime
    is_suspect: bool
    """It lost a lease in this step: it is woken alone, so that it can take no neighbour along."""
    job: str | None = None
    """Whose queue it belongs to; without it, `queue` is taken as it is."""
    former_queue: str | None = None
    """What the row says, where its job has moved to `queue` since."""


@dataclass(frozen=True, slots=True)
class DuePage:
    """What is due, oldest first, and what the database's clock said when it was read."""

    rows: Sequence[Due]
    read_at: datetime


async def find_due(
    books: Books, *, jobs: Sequence[str], limit: int, since: datetime | None = None
) -> DuePage:
    """Find rows due since a moment that nobody was woken for, of jobs that a live worker knows."""
    terms = {"known": list(jobs), "head_start_s": -RELAY_TIME_S, "limit": limit}
    if since is None:
        rows = await books.fetch(_select_due, **terms)
    else:
        rows = await books.fetch(_select_due_since, since=since.isoformat(), **terms)
    return await _page(books, rows)


@dataclass(frozen=True, slots=True)
class Silence:
    """Which wake-ups are suspected to be lost: those of `seconds` ago that brought no claim.

    With `since`, only those from before that moment: the publishing time of the newest wake-up of
    the queue that a worker has claimed. A long queue alone is then no reason to wake again.
    """

    queue: str
    seconds: float
    since: datetime | None = None


async def find_unanswered(
    books: Books, silence: Silence, *, jobs: Sequence[str], limit: int
) -> DuePage:
    """Find due rows whose wake-up may be lost."""
    rows = await books.fetch(
        _select_unanswered,
        queue=silence.queue,
        before=(silence.since or NEVER).isoformat(),
        silence_s=-silence.seconds,
        known=list(jobs),
        limit=limit,
    )
    return await _page(books, rows)


async def find_moved(books: Books, queues: Mapping[str, str], *, limit: int) -> DuePage:
    """Find due rows that were woken in another queue than that of their job, of {job: queue}.

    It reads every wake-up that nobody has claimed yet: 200,000 take a tenth of a second.
    """
    batch = [{"of_job": job, "new_queue": queue} for job, queue in sorted(queues.items())]
    return await _page(books, await books.fetch(_select_moved, batch=batch, limit=limit))


@one_change
async def mark_woken(books: Books, rows: Sequence[Due]) -> list[Due]:
    """Note where a wake-up was confirmed, if `due_at` and `queue` still are as they were read.

    It waits for no row; return those that could not be marked: they are locked, or have changed.
    """
    batch = [
        {
            "of_id": row.id,
            "was_due_at": row.due_at.isoformat(),
            "was_queue": row.former_queue or row.queue,
            "of_queue": row.queue,
        }
        for row in rows
    ]
    marked = {row.id for row in await books.fetch(_mark_woken, batch=batch)}
    return [row for row in rows if row.id not in marked]


async def welcome_jobs(books: Books, queues: Mapping[str, str], *, new: Container[str]) -> None:
    """Bring unclaimed programs to the queues of {job: queue}, as a worker now says.

    Programs of `new` jobs, which no other live worker knows, are woken again if they are due: their
    wake-ups may have been dropped as nobody's. The longest due ones, that is; whether others lack
    a wake-up shows when the queue is empty, or younger wake-ups are claimed (rule R6).
    """
    batch = [{"of_job": job, "new_queue": queue} for job, queue in sorted(queues.items())]
    await books.run(_move_to_queues, batch=batch)
    unknown = sorted(job for job in queues if job in new)
    rows = await books.fetch(_select_woken, known=unknown, limit=MAX_WELCOMED) if unknown else ()
    if rows:
        await books.run(_wake_anew, batch=[{"of_id": row.id} for row in rows])


async def queues_with_unanswered(books: Books, *, silence_s: float) -> list[str]:
    """Return the queues that have due rows whose wake-up was answered by nobody for so long."""
    rows = await books.fetch(_select_unanswered_queues, silence_s=-silence_s)
    return [row.queue for row in rows]


async def _page(books: Books, rows: Sequence[Any]) -> DuePage:
    return DuePage([_due(row) for row in rows], await read_clock(books))


def _due(row: Any) -> Due:
    due_at = require_moment(row.due_at)
    is_suspect = row.is_suspect > 0
    return Due(row.id, row.run_id, row.queue, due_at, is_suspect=is_suspect, job=row.job)


# no sum: it would overflow where somebody wrote the greatest number there is
COLUMNS = """
    id, run_id, job, queue, due_at,
    CASE WHEN lease IS NULL AND lease_losses = 0 THEN 0 ELSE 1 END AS is_suspect
"""
OPEN = "finished_at IS NULL AND errored_at IS NULL"


def _select_due(sql: Sql) -> str:
    return _select_due_where(sql, "TRUE")


def _select_due_since(sql: Sql) -> str:
    return _select_due_where(sql, f"due_at >= {sql.moment(':since')}")


def _select_due_where(sql: Sql, condition: str) -> str:
    return f"""
        SELECT {COLUMNS} FROM {sql.programs}
         WHERE {OPEN} AND woken_at IS NULL AND due_at <= {sql.later(":head_start_s")}
           AND {condition}
           AND {sql.among("job", "known")}
         ORDER BY due_at LIMIT :limit
    """


def _select_moved(sql: Sql) -> str:
    return f"""
        SELECT {COLUMNS} FROM {sql.programs}
          JOIN {sql.batch(of_job="varchar", new_queue="varchar")}
            ON job = of_job AND queue <> new_queue
         WHERE {OPEN} AND woken_at IS NOT NULL AND due_at <= {sql.clock}
         LIMIT :limit
    """


def _select_unanswered(sql: Sql) -> str:
    return f"""
        SELECT {COLUMNS} FROM {sql.programs}
         WHERE {OPEN} AND queue = :queue AND due_at <= {sql.clock}
           AND woken_at <= {sql.later(":silence_s")}
           AND woken_at < {sql.moment(":before")}
           AND {sql.among("job", "known")}
         ORDER BY woken_at LIMIT :limit
    """


def _select_unanswered_queues(sql: Sql) -> str:
    """Step from queue to queue in the index: DISTINCT reads all of a long queue, every second.

    (200,000 programs wait: 81 ms, and 1 ms so.)
    """
    woken = f"FROM {sql.programs} WHERE {OPEN} AND woken_at IS NOT NULL"
    if sql.dialect.name == "mysql":  # that would read all for each queue
        return f"""
            SELECT DISTINCT queue {woken}
               AND due_at <= {sql.clock} AND woken_at <= {sql.later(":silence_s")}
        """
    # not MIN, for which statistics of a quiet hour read everything
    next_queue = f"SELECT queue {woken} AND queue > woken.queue ORDER BY queue LIMIT 1"
    oldest = f"SELECT woken_at {woken} AND queue = woken.queue AND due_at <= {sql.clock}"
    return f"""
        WITH RECURSIVE woken(queue) AS (
            SELECT (SELECT queue {woken} ORDER BY queue LIMIT 1)
             UNION ALL
            SELECT ({next_queue}) FROM woken WHERE woken.queue IS NOT NULL
        )
        SELECT queue FROM woken
         WHERE ({oldest} ORDER BY woken_at LIMIT 1) <= {sql.later(":silence_s")}
    """


def _mark_woken(sql: Sql) -> str | Script:
    return sql.update_unlocked(
        # MariaDB sees new values in later assignments: the comparison comes first
        f"""
            version = CASE WHEN queue <> of_queue THEN {sql.next_version} ELSE version END,
            queue = of_queue, woken_at = {sql.clock}
        """,
        batch=sql.batch(
            of_id="bigint", was_due_at="varchar", was_queue="varchar", of_queue="varchar"
        ),
        matching="program.id = of_id",
        where=f"""
            {sql.as_read("due_at")} = {sql.moment("was_due_at")}
            AND queue IN (was_queue, of_queue) AND {sql.is_open}
        """,
        returning="id",
    )


def _move_to_queues(sql: Sql) -> str | Script:
    return sql.update_unlocked(
        f"woken_at = NULL, queue = new_queue, version = {sql.next_version}",
        batch=sql.batch(of_job="varchar", new_queue="varchar"),
        matching="job = of_job",
        where=f"{OPEN} AND lease IS NULL AND queue <> new_queue",
    )


def _select_woken(sql: Sql) -> str:
    return f"""
        SELECT id FROM {sql.programs}
         WHERE {OPEN} AND lease IS NULL AND woken_at IS NOT NULL AND due_at <= {sql.clock}
           AND {sql.among("job", "known")}
         ORDER BY due_at LIMIT :limit
    """


def _wake_anew(sql: Sql) -> str | Script:
    return sql.update_unlocked(
        "woken_at = NULL",
        batch=sql.batch(of_id="bigint"),
        matching="program.id = of_id",
        where=f"lease IS NULL AND {sql.is_open}",
    )
