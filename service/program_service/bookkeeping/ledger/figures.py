"""Figures: what the dashboard shows of the last minutes, hours and days, from the counts."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.counting import (
    CANCELLED,
    FINISHED,
    NO_DURATION,
    seconds_of,
)
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.ledger.status import is_open, status_expression
from program_service.bookkeeping.lifecycle import Status
from program_service.bookkeeping.stored import read_text

MINUTE = timedelta(minutes=1)

SUCCEEDED = ("done", FINISHED)
FAILED = ("failed", "ignored")
RETRIED = "retry"
JUDGED = {*SUCCEEDED, *FAILED, RETRIED}
"""Attempts that ran until something was known: their durations tell how long a job takes."""

ENDS = {
    FINISHED: Status.FINISHED,
    "failed": Status.ERRORED,
    "ignored": Status.ERRORED,
    CANCELLED: Status.CANCELLED,
}
"""How a program ended, by what its end is counted as."""

MAX_COUNTED = 100_000

MOST_TIMES = 2**53
"""How often something is said to have happened at most; greater sums are not exact."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What came to an end in a minute: {outcome: how often}.

    Outcomes are those of attempts, but `finished` stands for the `done` that finished its program;
    `failed` and `ignored` errored theirs. `cancelled` are programs, `let_go` their attempts.
    """

    minute: datetime
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What became of a job's attempts, and how long they took; None where nobody knows."""

    job: str
    done: int
    failed: int
    retried: int
    success_rate: float | None
    """Of those that are done or failed for good: 0 to 1."""
    p50_s: float | None
    p95_s: float | None
    last_minute: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """How many programs there are by status.

    Of those that wait for a worker, and of those that are due later, no more than so many are
    looked at: `is_capped` says that there are more. Those that are due first are counted.
    """

    open: dict[Status, int]
    is_capped: bool
    ended_in_hour: dict[Status, int]
    ended_in_day: dict[Status, int]


async def throughput(books: Books, *, minutes: int = 60) -> list[Minute]:
    """Return what came to an end in each of the last minutes, the current one included."""
    last = (await read_clock(books)).replace(second=0, microsecond=0)
    first = last - (minutes - 1) * MINUTE
    rollups = books.tables.rollups.c
    rows = await books.select(
        sa.select(rollups.minute, rollups.outcome, _sum(rollups.count).label("times"))
        .where(rollups.minute >= first)
        .group_by(rollups.minute, rollups.outcome)
    )
    counts: dict[datetime, dict[str, int]] = defaultdict(dict)
    for row in rows:
        counts[row.minute][row.outcome] = _whole(row.times)
    moments = [first + number * MINUTE for number in range(minutes)]
    return [Minute(moment, counts.get(moment, {})) for moment in moments]


async def job_figures(books: Books, *, hours: float = 24) -> list[JobFigures]:
    """Return the figures of each job that something came to an end of, in the order of names."""
    rollups = books.tables.rollups.c
    since = await read_clock(books) - timedelta(hours=hours)
    rows = await books.select(
        sa.select(
            rollups.job,
            rollups.outcome,
            rollups.bucket,
            _sum(rollups.count).label("times"),
            sa.func.max(rollups.minute).label("newest"),
        )
        .where(rollups.minute >= since, rollups.outcome != CANCELLED)
        .group_by(rollups.job, rollups.outcome, rollups.bucket)
    )
    of_jobs: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        of_jobs[read_text(row.job)].append(row)
    return [_figures(job, of_jobs[job]) for job in sorted(of_jobs)]


def top_failing(figures: Sequence[JobFigures], *, limit: int = 5) -> list[JobFigures]:
    """Return the jobs that failed most often, of those that failed at all."""
    failing = [each for each in figures if each.failed]
    return sorted(failing, key=lambda each: (-each.failed, each.job))[:limit]


async def counts_by_status(books: Books, *, limit: int = MAX_COUNTED) -> Overview:
    """Count the programs that have not ended, up to a limit, and the ends of the last day."""
    is_due = books.tables.programs.c.due_at <= books.clock
    due = await _count_first(books, is_due, limit)
    due_later = await _count_first(books, sa.not_(is_due), limit)
    ended_in_hour, ended_in_day = await _count_ends(books)
    return Overview(
        open={status: (due + due_later)[status] for status in Status if not status.is_final},
        is_capped=limit in {due.total(), due_later.total()},
        ended_in_hour=ended_in_hour,
        ended_in_day=ended_in_day,
    )


async def _count_first(
    books: Books, condition: sa.ColumnElement[bool], limit: int
) -> Counter[Status]:
    """Count the first of those that have not ended, by status, in the order of the index."""
    programs = books.tables.programs
    status = status_expression(programs, books.clock).label("status")
    first = (
        sa.select(status)
        .where(is_open(programs), condition)
        .order_by(programs.c.due_at)
        .limit(limit)
        .subquery()
    )
    rows = await books.select(
        sa.select(first.c.status, sa.func.count().label("times")).group_by(first.c.status)
    )
    return Counter({Status(row.status): row.times for row in rows})


async def _count_ends(books: Books) -> tuple[dict[Status, int], dict[Status, int]]:
    """Count the ends of the last hour, and those of the last day."""
    rollups, now = books.tables.rollups.c, await read_clock(books)
    is_of_hour = rollups.minute >= now - timedelta(hours=1)
    in_hour = _sum(sa.case((is_of_hour, rollups.count), else_=0))
    rows = await books.select(
        sa.select(
            rollups.outcome,
            in_hour.label("in_hour"),
            _sum(rollups.count).label("in_day"),
        )
        .where(rollups.minute >= now - timedelta(days=1), rollups.outcome.in_(list(ENDS)))
        .group_by(rollups.outcome)
    )
    hour, day = (dict.fromkeys(ENDS.values(), 0) for _ in range(2))
    for row in rows:
        hour[ENDS[row.outcome]] += _whole(row.in_hour)
        day[ENDS[row.outcome]] += _whole(row.in_day)
    return hour, day


def _sum(counts: sa.ColumnElement[int]) -> sa.ColumnElement[float]:
    """Sum counts as fractions: the sum of whole numbers overflows on SQLite."""
    return sa.func.sum(1.0 * counts)


def _whole(total: Any) -> int:
    """Return a sum as a number of times, however great it is."""
    return int(min(max(total or 0, -MOST_TIMES), MOST_TIMES))


def _figures(job: str, rows: Sequence[Any]) -> JobFigures:
    outcomes: Counter[str] = Counter()
    durations: Counter[int] = Counter()
    for row in rows:
        outcomes[row.outcome] += _whole(row.times)
        if row.outcome in JUDGED and type(row.bucket) is int and row.bucket != NO_DURATION:
            durations[row.bucket] += _whole(row.times)
    done = sum(outcomes[word] for word in SUCCEEDED)
    failed = sum(outcomes[word] for word in FAILED)
    return JobFigures(
        job=job,
        done=done,
        failed=failed,
        retried=outcomes[RETRIED],
        success_rate=done / (done + failed) if done + failed else None,
        p50_s=_percentile(durations, 0.5),
        p95_s=_percentile(durations, 0.95),
        last_minute=max(row.newest for row in rows),
    )


def _percentile(durations: Counter[int], share: float) -> float | None:
    """Return what this share of the durations took at most, as exactly as buckets tell."""
    left = share * durations.total()
    for bucket in sorted(durations):
        left -= durations[bucket]
        if left <= 0:
            return seconds_of(bucket)
    return None
