"""Measure: the clock, and what of the table is counted for metrics and for people on call."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.dialects import Sql
from program_service.bookkeeping.ledger.status import is_open, status_expression
from program_service.bookkeeping.lifecycle import Status
from program_service.bookkeeping.tables import require_moment


async def read_clock(books: Books) -> datetime:
    """Return the database's time."""
    (now,) = (await books.fetch(_select_clock))[0]
    return require_moment(now)


async def count_open(books: Books) -> dict[Status, int]:
    """Count the programs that have not ended, by status; those that have are not looked at."""
    programs = books.tables.programs
    status = status_expression(programs, books.clock).label("status")
    rows = await books.select(
        sa.select(status, sa.func.count()).where(is_open(programs)).group_by(status)
    )
    return {Status(name): count for name, count in map(tuple, rows)}


async def oldest_due_ages_s(books: Books) -> dict[str, float]:
    """Return {queue: seconds since its oldest due, unclaimed program became due}."""
    rows = await books.fetch(_select_oldest_due)
    return {row.queue: max(0.0, float(row.age_s)) for row in rows}


@dataclass(frozen=True, slots=True)
class Pulse:
    """What changes when something happens: the newest program, what was counted, who works."""

    newest: int
    counted: int
    busy: int
    workers: int


async def pulse(books: Books) -> Pulse:
    """Feel whether anything has happened; three look-ups by index, whatever the tables' size."""
    (row,) = await books.fetch(_select_pulse)
    return Pulse(row.newest or 0, row.counted or 0, row.busy or 0, row.workers)


def _select_clock(sql: Sql) -> str:
    return f"SELECT {sql.clock}"


def _select_pulse(sql: Sql) -> str:
    return f"""
        SELECT (SELECT MAX(id) FROM {sql.programs}) AS newest,
               (SELECT SUM(count) FROM {sql.rollups}
                 WHERE minute >= {sql.later("-120")}) AS counted,
               (SELECT SUM(busy) FROM {sql.workers}) AS busy,
               (SELECT COUNT(*) FROM {sql.workers}) AS workers
    """


def _select_oldest_due(sql: Sql) -> str:
    return f"""
        SELECT queue, {sql.dialect.seconds_between("MIN(due_at)", sql.clock)} AS age_s
          FROM {sql.programs}
         WHERE finished_at IS NULL AND errored_at IS NULL AND lease IS NULL
           AND due_at <= {sql.clock}
         GROUP BY queue
    """
