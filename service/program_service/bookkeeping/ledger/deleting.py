"""Delete: remove old rows that nobody has locked, some at a time."""

from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books


async def delete_once(books: Books, note: object, old: sa.Select[tuple[Any]]) -> int:
    """Delete the rows whose primary key a query selects; return how many.

    A second attempt deletes the rows that the first one chose, and no others (rule R4).
    """
    (key,) = old.selected_columns
    if note not in books.notes:
        rows = await books.select(old.with_for_update(skip_locked=True))
        books.notes[note] = [row[0] for row in rows]
    gone: list[Any] = books.notes[note]
    if gone:
        await books.connection.execute(sa.delete(key.table).where(key.in_(gone)))
    return len(gone)
