"""Database: connections, and transactions that are tried again whole when that is safe.

The edge calls `Database.transact` with a function of the ledger. A transaction that failed because
of a deadlock, or whose COMMIT answer was lost, is run again from its start; the ledger's statements
are written so that this changes nothing (protocol rule R4).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from program_service.bookkeeping.books import Books, Words, changes_once
from program_service.bookkeeping.engines import (
    IDLE_TIMEOUT_S,
    STATEMENT_TIMEOUT_S,
    Limits,
    UtcClock,
    make_engine,
    utc_now,
)
from program_service.bookkeeping.errors import BatchRefused, DatabaseUnavailable
from program_service.bookkeeping.tables import Tables
from program_service.bookkeeping.trouble import FAILURES, is_transient
from program_service.crashpoints import reach_commit

R = TypeVar("R")
P = ParamSpec("P")

PAUSE_S = 0.05
"""The pause before a transaction is tried again; doubled each time, up to a second."""


class Database(Words):
    """The bookkeeping database of one deployment."""

    def __init__(self, engine: AsyncEngine, tables: Tables, clock: UtcClock = utc_now) -> None:
        """Take an engine; `connect` makes one from a URL."""
        # only SQLite, which has no server, takes this host's time for the database's
        is_embedded = engine.dialect.name == "sqlite"
        super().__init__(engine.dialect.name, tables, clock if is_embedded else None)
        self.engine = engine
        # the same connections, where each statement is a transaction: no BEGIN, no COMMIT; MariaDB
        # would be told so each time
        modes: dict[str, dict[str, Any]] = {
            "postgresql": {"isolation_level": "AUTOCOMMIT"},
            "sqlite": {"is_reader": True},
        }
        self._singly = engine.execution_options(**modes.get(engine.dialect.name, {}))
        # SQLite has one writer: waiting here is fair, waiting in the database is a lottery
        self._writer = asyncio.Lock() if is_embedded else None

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        table_name: str = "programs",
        pool_size: int = 10,
        clock: UtcClock = utc_now,
    ) -> Self:
        """Make a database from a URL as people have it; nothing is connected yet.

        Raises:
            ValueError: the URL names a database that is not supported.
        """
        return cls(make_engine(url, Limits(pool_size)), Tables.named(table_name), clock)

    def beside(
        self,
        *,
        idle_timeout_s: int = IDLE_TIMEOUT_S,
        statement_timeout_s: float | None = STATEMENT_TIMEOUT_S,
    ) -> Self:
        """Return the same database, over connections of its own with other limits."""
        engine = make_engine(
            self.engine.url.render_as_string(hide_password=False),
            Limits(self.pool_size, statement_timeout_s, idle_timeout_s),
        )
        return type(self)(engine, self.tables, self.clock or utc_now)

    @property
    def pool_size(self) -> int:
        """How many connections there may be at a time; SQLite opens as many as it needs."""
        pool = self.engine.pool
        return pool.size() if isinstance(pool, sa.QueuePool) else 1

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def transact(
        self,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `work` in a transaction, again while its failure is transient, for a few seconds.

        Raises:
            DatabaseUnavailable: the database did not answer in time.
            BatchRefused: the database refused what it was asked to store.
        """
        return await self.transact_within(3.0, work, *args, **kwargs)

    async def transact_within(
        self,
        patience_s: float,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Like `transact`, with another patience."""
        deadline, pause_s = time.monotonic() + patience_s, PAUSE_S
        notes: dict[object, Any] = {}
        while True:
            try:
                with heeding_cancellation():
                    async with self._transaction(work) as books:
                        books.notes = notes  # the same for every try
                        result = await work(books, *args, **kwargs)
                reach_commit(work, "after")
            except FAILURES as error:
                if not is_transient(error):
                    raise BatchRefused(str(getattr(error, "orig", error))) from error
                if time.monotonic() + pause_s >= deadline:
                    raise DatabaseUnavailable from error
            else:
                return result
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)

    async def read(
        self,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `work` that only reads; on SQLite it does not wait for the writer.

        Raises:
            DatabaseUnavailable: the database did not answer.
        """
        try:
            with heeding_cancellation():
                async with self._singly.connect() as connection:
                    return await work(Books(connection, self), *args, **kwargs)
        except FAILURES as error:
            if not is_transient(error):
                raise
            raise DatabaseUnavailable from error

    @asynccontextmanager
    async def alone(self, purpose: str) -> AsyncIterator[bool]:
        """Hold an advisory lock of the deployment, if nobody does; say whether it is held.

        SQLite has none: its one process is always alone.
        """
        dialect = self.sql.dialect
        if dialect.try_advisory_lock is None:
            yield True
            return
        key = f"{self.tables.programs.name}:{purpose}"
        # a session's lock, outside any transaction: no row stays locked, no snapshot stays open
        with heeding_cancellation():
            async with self.engine.connect() as connection:
                session = await connection.execution_options(isolation_level="AUTOCOMMIT")
                lock = sa.text(dialect.try_advisory_lock)
                is_alone = bool(await session.scalar(lock, {"key": key}))
                try:
                    yield is_alone
                finally:
                    if is_alone:
                        await session.execute(sa.text(dialect.advisory_unlock), {"key": key})

    @property
    def commits_statements(self) -> bool:
        """Whether one statement can change rows, write of it elsewhere, and answer."""
        return self.sql.dialect.name == "postgresql"

    @asynccontextmanager
    async def _transaction(self, work: Callable[..., Any]) -> AsyncIterator[Books]:
        if self.commits_statements and changes_once(work):
            async with self._singly.connect() as connection:
                reach_commit(work, "before")
                yield Books(connection, self)
            return
        async with self._writer or nullcontext(), self.engine.begin() as connection:
            yield Books(connection, self)
            reach_commit(work, "before")


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Cancel the task that was asked to end in here, also when a driver swallowed that.

    `asyncio.wait_for`, by which asyncmy reads, does so before Python 3.12 when what it waits for
    comes at the same moment; a loop that was told to end would go on for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError
