"""Purge: delete what ended long ago, with its attempts and its idempotency keys.

Counts of minutes are deleted when they are old, too. Rows that somebody else has locked are left
for the next time, so that nobody waits for anybody.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.measuring import read_clock

AT_ONCE = timedelta(minutes=10)
"""Of counts in one transaction; the purger's next turn takes the next."""


async def purge(
    books: Books, *, older_than: timedelta, limit: int, without: Sequence[int] = ()
) -> int:
    """Delete up to `limit` programs that ended longer ago; return how many.

    A program whose end is still to be sent to its `notify` address stays until that is done, or
    given up. The ids in `without` stay, too.
    """
    if (count := await _purged_before(books)) is not None:
        return count
    rows = await find_old(books, older_than=older_than, limit=limit, without=without)
    if rows:
        await _delete(books, rows)
        books.notes[purge] = [row.run_id for row in rows]
    return len(rows)


async def find_old(
    books: Books, *, older_than: timedelta, limit: int, without: Sequence[int] = ()
) -> Sequence[Any]:
    """Lock the programs that `purge` would delete, and return their ids and run_ids."""
    ended_before = await read_clock(books) - older_than
    rows = await _lock_finished(books, ended_before, limit, without)
    if len(rows) < limit:
        more = await _lock_errored(books, ended_before, limit - len(rows), without)
        rows = [*rows, *more]
    return rows


async def _purged_before(books: Books) -> int | None:
    """Return how many an earlier try deleted, if it was committed though its answer was lost."""
    run_ids, programs = books.notes.get(purge), books.tables.programs
    if run_ids is None:
        return None
    left = await books.select(sa.select(programs.c.id).where(programs.c.run_id.in_(run_ids)))
    return None if left else len(run_ids)


async def forget_keys(books: Books, *, after: str, limit: int) -> str | None:
    """Delete the idempotency keys of programs that are gone, deleted by hand for example.

    Looks at up to `limit` keys in the order of their run_ids; returns the last run_id it looked at,
    where the next call goes on, or None at the end.
    """
    keys, programs = books.tables.idempotency, books.tables.programs
    if forget_keys in books.notes:  # an earlier try of this call; whether it was committed or not
        gone, looked_to = books.notes[forget_keys]
        await books.connection.execute(sa.delete(keys).where(keys.c.run_id.in_(gone)))
        return cast("str | None", looked_to)
    rows = await books.select(
        sa.select(keys.c.run_id, programs.c.id)
        .join_from(keys, programs, keys.c.run_id == programs.c.run_id, isouter=True)
        .where(keys.c.run_id > after)
        .order_by(keys.c.run_id)
        .limit(limit)
    )
    # by what was read: a subquery in a DELETE would lock programs on MariaDB
    gone = await _lock_keys(books, [row.run_id for row in rows if row.id is None])
    if gone:
        await books.connection.execute(sa.delete(keys).where(keys.c.run_id.in_(gone)))
    looked_to = rows[-1].run_id if len(rows) == limit else None
    books.notes[forget_keys] = gone, looked_to
    return looked_to


async def _lock_keys(books: Books, run_ids: Sequence[str]) -> list[str]:
    """Lock the keys of programs that are gone, where nobody else has; return their run_ids."""
    if not run_ids:
        return []
    run_id = books.tables.idempotency.c.run_id
    locked = sa.select(run_id).where(run_id.in_(run_ids)).with_for_update(skip_locked=True)
    return [row.run_id for row in await books.select(locked)]


async def forget_counts(books: Books, *, older_than: timedelta) -> None:
    """Delete counts of minutes longer ago, those of ten minutes at most."""
    rollups = books.tables.rollups
    if forget_counts not in books.notes:  # an earlier try has determined what this call deletes
        counted_before = await read_clock(books) - older_than
        oldest = sa.select(rollups.c.minute).order_by(rollups.c.minute).limit(1)
        rows = await books.select(oldest.where(rollups.c.minute < counted_before))
        until = [min(counted_before, row.minute + AT_ONCE) for row in rows]
        books.notes[forget_counts] = until
    for moment in books.notes[forget_counts]:
        await books.connection.execute(sa.delete(rollups).where(rollups.c.minute < moment))


async def _lock_finished(
    books: Books, ended_before: datetime, limit: int, without: Sequence[int]
) -> Sequence[Any]:
    finished_at = books.tables.programs.c.finished_at
    is_old = finished_at < ended_before
    return await _lock(books, is_old, order=finished_at, limit=limit, without=without)


async def _lock_errored(
    books: Books, ended_before: datetime, limit: int, without: Sequence[int]
) -> Sequence[Any]:
    row = books.tables.programs.c
    # one that somebody gave a finished_at too, by hand, has finished
    is_old = sa.and_(row.errored_at < ended_before, row.finished_at.is_(None))
    return await _lock(books, is_old, order=row.errored_at, limit=limit, without=without)


async def _lock(
    books: Books,
    is_old: sa.ColumnElement[bool],
    *,
    order: sa.Column[Any],
    limit: int,
    without: Sequence[int],
) -> Sequence[Any]:
    programs = books.tables.programs
    query = sa.select(programs.c.id, programs.c.run_id).where(
        is_old, programs.c.notify_due_at.is_(None)
    )
    if without:
        query = query.where(programs.c.id.not_in(without))
    return await books.select(query.order_by(order).limit(limit).with_for_update(skip_locked=True))


async def _delete(books: Books, rows: Sequence[Any]) -> None:
    """Delete by keys, in the order of the ids."""
    tables, run_ids = books.tables, sorted(row.run_id for row in rows)
    for table in (tables.attempts, tables.idempotency):
        await books.connection.execute(sa.delete(table).where(table.c.run_id.in_(run_ids)))
    programs, ids = tables.programs, sorted(row.id for row in rows)
    await books.connection.execute(sa.delete(programs).where(programs.c.id.in_(ids)))
