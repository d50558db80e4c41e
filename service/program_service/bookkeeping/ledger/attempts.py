"""Attempts: the tries of a program's steps, by pages: an old program has tens of thousands."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.pages import (
    BadCursor,
    fitting,
    opaque,
    read_opaque,
    size_of,
)
from program_service.bookkeeping.ledger.reading import Attempt, no_program
from program_service.bookkeeping.ledger.showing import shown_attempt

MAX_LISTED = 200
LONG = ("error_message", "traceback", "log")
"""The columns whose length counts for a page."""

ORDER = ("finished_at", "step", "attempt", "lease")


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Some tries, and the cursor of the next page, or None at the end."""

    attempts: list[Attempt]
    next_cursor: str | None


async def page_of_attempts(
    books: Books,
    run_id: str,
    *,
    limit: int = MAX_LISTED,
    cursor: str | None = None,
    is_newest_first: bool = False,
) -> AttemptPage:
    """List tries in the order of their ends, or the last first.

    Raises:
        ProgramNotFound: no program has this run_id.
        BadCursor: the cursor is not one of ours.
    """
    await _require_program(books, run_id)
    attempts = books.tables.attempts
    keys = _keys(books, run_id, cursor, is_newest_first=is_newest_first)
    few = keys.limit(limit + 1).subquery()
    order = _order(attempts, is_newest_first=is_newest_first)
    size = size_of(books, [attempts.c[name] for name in LONG])
    sizes = sa.select(size).select_from(_joined(attempts, few, run_id)).order_by(*order)
    rows = await books.select(sizes)
    count = len(fitting(rows, limit))
    page = keys.limit(count).subquery()
    columns = [attempts.c[name] for name in ("lease", *Attempt.__slots__)]
    wanted = sa.select(*columns).select_from(_joined(attempts, page, run_id)).order_by(*order)
    found = [row._asdict() for row in await books.select(wanted)]
    last = {name: found[-1][name] for name in ("lease", "step")} if count < len(rows) else None
    for each in found:
        del each["lease"]
    shown = [Attempt(**shown_attempt(each)) for each in found]
    return AttemptPage(shown, opaque(last) if last else None)


async def list_attempts(books: Books, run_id: str) -> list[Attempt]:
    """List every try of every step, in the order of their ends; for programs that have few.

    Raises:
        ProgramNotFound: no program has this run_id.
    """
    page = await page_of_attempts(books, run_id)
    found = page.attempts
    while page.next_cursor:
        page = await page_of_attempts(books, run_id, cursor=page.next_cursor)
        found += page.attempts
    return found


async def _require_program(books: Books, run_id: str) -> None:
    programs = books.tables.programs
    if not await books.select(sa.select(programs.c.id).where(programs.c.run_id == run_id)):
        raise no_program(run_id)


def _keys(
    books: Books, run_id: str, cursor: str | None, *, is_newest_first: bool
) -> sa.Select[*tuple[Any, ...]]:
    """Select the keys of the tries after a cursor, in order."""
    attempts = books.tables.attempts.alias("each")
    query = sa.select(attempts.c.lease, attempts.c.step).where(attempts.c.run_id == run_id)
    if cursor is not None:
        query = query.join(last := books.tables.attempts.alias("last"), _is_last(last, cursor))
        query = query.where(
            last.c.run_id == run_id, _is_after(attempts, last, is_newest_first=is_newest_first)
        )
    return query.order_by(*_order(attempts, is_newest_first=is_newest_first))


def _is_last(last: sa.FromClause, cursor: str) -> sa.ColumnElement[bool]:
    """Return the condition for the try that a cursor names: what is compared is not in it."""
    value = read_opaque(cursor)
    lease, step = value.get("lease"), value.get("step")
    if type(lease) is not str or "\0" in lease or type(step) is not int or not 0 <= step < 2**31:
        raise BadCursor
    return sa.and_(last.c.lease == lease, last.c.step == step)


def _is_after(
    each: sa.FromClause, last: sa.FromClause, *, is_newest_first: bool
) -> sa.ColumnElement[bool]:
    condition: sa.ColumnElement[bool] = sa.false()
    for name in reversed(ORDER):
        one, other = each.c[name], last.c[name]
        is_beyond = one < other if is_newest_first else one > other
        condition = sa.or_(is_beyond, sa.and_(one == other, condition))
    return condition


def _order(attempts: sa.FromClause, *, is_newest_first: bool) -> list[sa.ColumnElement[Any]]:
    columns = [attempts.c[name] for name in ORDER]
    return [each.desc() if is_newest_first else each.asc() for each in columns]


def _joined(attempts: sa.Table, keys: sa.Subquery, run_id: str) -> sa.Join:
    is_one = sa.and_(
        attempts.c.run_id == run_id,
        attempts.c.lease == keys.c.lease,
        attempts.c.step == keys.c.step,
    )
    return keys.join(attempts, is_one)
