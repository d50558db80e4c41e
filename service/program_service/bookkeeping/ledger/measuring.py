"""Measure: the clock, and what of the table is counted for metrics and for people on call."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.status import is_open, status_expression
from program_service.bookkeeping.lifecycle import Status
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.stored import read_text
from program_service.bookkeeping.tables import require_moment


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not ended: how many programs by status, and how long the oldest is due by queue."""

    counts: Mapping[Status, int]
    due_ages_s: Mapping[str, float]


async def read_clock(books: Books) -> datetime:
    """Return the database's time."""
    (now,) = (await books.fetch(_select_clock))[0]
    return require_moment(now)


async def measure_backlog(books: Books) -> Backlog:
    """Count what has not ended; the programs that have are not looked at.

    A lapsed lease is due as well: while nobody claims it, nobody works.
    """
    programs, clock = books.tables.programs, books.clock
    status = status_expression(programs, clock).label("status")
    due_at = sa.case((programs.c.due_at <= clock, programs.c.due_at))
    # once through the open ones, for both answers
    rows = await books.select(
        sa.select(status, programs.c.queue, sa.func.count(), sa.func.min(due_at), clock)
        .where(is_open(programs))
        .group_by(status, programs.c.queue)
    )
    counts: defaultdict[Status, int] = defaultdict(int)
    ages_s: defaultdict[str, float] = defaultdict(float)
    for name, queue, count, oldest, now in map(tuple, rows):
        counts[Status(name)] += count
        if oldest is not None:
            named = read_text(queue)
            ages_s[named] = max(ages_s[named], (now - oldest).total_seconds())
    return Backlog(dict(counts), dict(ages_s))


@dataclass(frozen=True, slots=True)
class Pulse:
    """What changes when something happens: the newest program, what was counted, who works."""

    newest: int
    counted: float
    busy: float
    slots: float
    workers: int


async def pulse(books: Books) -> Pulse:
    """Feel whether anything has happened; three look-ups by index, whatever the tables' size."""
    (row,) = await books.fetch(_select_pulse)
    return Pulse(row.newest or 0, row.counted or 0, row.busy or 0, row.slots or 0, row.workers)


def _select_clock(sql: Sql) -> str:
    return f"SELECT {sql.clock}"


def _select_pulse(sql: Sql) -> str:
    # as fractions: SQLite's sum of whole numbers overflows, where somebody wrote the greatest one
    return f"""
        SELECT (SELECT MAX(id) FROM {sql.programs}) AS newest,
               (SELECT SUM(1.0 * count) FROM {sql.rollups}
                 WHERE minute >= {sql.later("-120")}) AS counted,
               (SELECT SUM(1.0 * busy) FROM {sql.workers}) AS busy,
               (SELECT SUM(1.0 * slots) FROM {sql.workers}) AS slots,
               (SELECT COUNT(*) FROM {sql.workers}) AS workers
    """
