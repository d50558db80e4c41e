"""Pages: how much of a list is read at a time: so many rows, and so many bytes of them.

The keys and sizes of a page are read first, and then the rows that have room, so that a list is
bounded before any of it leaves the database.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.lifecycle import Json

MAX_PAGE_BYTES = 1_048_576
"""Of the long columns of a page, as they are stored; a row that is longer is a page of its own."""


class BadCursor(BookkeepingError):
    """The cursor is not one that this service gave out; take it from the Link header."""


def opaque(last: Json) -> str:
    """Write what names the last row of a page as a cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(last)).decode().rstrip("=")


def read_opaque(cursor: str) -> Json:
    """Read a cursor.

    Raises:
        BadCursor: it is not one of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        value = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError, ValueError) as error:
        raise BadCursor from error
    if not isinstance(value, dict):
        raise BadCursor
    return value


def size_of(books: Books, columns: Sequence[sa.Column[Any]]) -> sa.ColumnElement[int]:
    """Return how many bytes the values of some columns have, as an expression named `size`."""
    sizes = [sa.func.coalesce(_bytes_of(books, column), 0) for column in columns]
    size: sa.ColumnElement[int] = sum(sizes[1:], start=sizes[0])
    return size.label("size")


def fitting(rows: Sequence[Any], limit: int) -> Sequence[Any]:
    """Return the first of some rows with a `size` that a page has room for: one at least."""
    size = 0
    for count, row in enumerate(rows[:limit]):
        size += row.size
        if count and size > MAX_PAGE_BYTES:
            return rows[:count]
    return rows[:limit]


def _bytes_of(books: Books, column: sa.Column[Any]) -> sa.ColumnElement[int]:
    match books.connection.dialect.name:
        case "postgresql":
            return sa.func.octet_length(sa.cast(column, sa.Text))
        case "sqlite":
            return sa.func.length(sa.cast(column, sa.LargeBinary))
        case _:
            return sa.func.octet_length(column)
