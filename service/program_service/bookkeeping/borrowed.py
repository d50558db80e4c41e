"""Borrowed: the bookkeeping in a transaction of somebody else, who commits it or does not."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from program_service.bookkeeping.books import Books, Words
from program_service.bookkeeping.errors import NotBorrowable
from program_service.bookkeeping.tables import Tables

R = TypeVar("R")

Blocking: TypeAlias = Session | sa.Connection
Awaiting: TypeAlias = AsyncSession | AsyncConnection


class _Face:
    """A blocking connection with the face of an asynchronous one, as far as `Books` looks."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def execute(self, *args: Any) -> sa.CursorResult[Any]:
        return self._connection.execute(*args)


async def in_session(
    session: Awaiting, work: Callable[[Books], Awaitable[R]], *, table_name: str
) -> R:
    """Let `work` do its part in the transaction of a session or a connection.

    Raises:
        NotBorrowable: its database is SQLite.
    """
    connection = await session.connection() if isinstance(session, AsyncSession) else session
    return await work(Books(connection, _words(connection.dialect.name, table_name)))


def in_blocking_session(
    session: Blocking, work: Callable[[Books], Awaitable[R]], *, table_name: str
) -> R:
    """Let `work` do its part in the transaction of a blocking session or connection.

    Raises:
        NotBorrowable: its database is SQLite.
    """
    connection = session.connection() if isinstance(session, Session) else session
    face: Any = _Face(connection)
    awaiting = work(Books(face, _words(connection.dialect.name, table_name))).__await__()
    try:
        next(awaiting)
    except StopIteration as ended:
        result: R = ended.value
        return result
    msg = "the ledger waits for an event loop, and there is none"
    raise AssertionError(msg)


@lru_cache
def _words(dialect_name: str, table_name: str) -> Words:
    if dialect_name == "sqlite":
        raise NotBorrowable
    return Words(dialect_name, Tables.named(table_name), None)
