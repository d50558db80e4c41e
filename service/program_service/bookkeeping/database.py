"""Database: connections, and transactions that are tried again whole when that is safe.

The edge calls `Database.transact` with a function of the ledger. A transaction that failed because
of a deadlock, or whose COMMIT answer was lost, is run again from its start; the ledger's statements
are written so that this changes nothing (protocol rule R4).

Errors of drivers do not leave this module: each becomes an error of the bookkeeping, in the
database's own words, and so does a cancellation that nobody asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from copy import copy
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from program_service.bookkeeping.advisory import AdvisoryLocks
from program_service.bookkeeping.books import Books, Words, changes_once
from program_service.bookkeeping.complaints import Complaints
from program_service.bookkeeping.engines import (
    IDLE_TIMEOUT_S,
    STATEMENT_TIMEOUT_S,
    Limits,
    UtcClock,
    make_engine,
    make_ledger_engine,
    utc_now,
)
from program_service.bookkeeping.errors import (
    DatabaseUnavailable,
    StatementRejected,
)
from program_service.bookkeeping.patience import Patience
from program_service.bookkeeping.tables import Tables
from program_service.bookkeeping.trouble import in_our_words
from program_service.crashpoints import reach_commit

R = TypeVar("R")
P = ParamSpec("P")

PATIENCE_S = 3.0
"""How long a transaction is tried again for somebody who waits for its answer."""

CONNECTION_WITHIN_S = 10.0
"""How long requests wait for each other; the pool has the same patience."""

LOCK_WITHIN_S = 5.0
"""How long it may take to take an advisory lock, for which nobody waits."""


class Database(Words):
    """The bookkeeping database of one deployment."""

    def __init__(self, engine: AsyncEngine, tables: Tables, clock: UtcClock = utc_now) -> None:
        """Take an engine; `connect` makes one from a URL."""
        # only SQLite, which has no server, takes this host's time for the database's
        is_embedded = engine.dialect.name == "sqlite"
        super().__init__(engine.dialect.name, tables, clock if is_embedded else None)
        self.engine = engine
        self.complaints = Complaints()
        # the same connections, where each statement is a transaction: no BEGIN, no COMMIT; MariaDB
        # would be told so each time
        modes: dict[str, dict[str, Any]] = {
            "postgresql": {"isolation_level": "AUTOCOMMIT"},
            "sqlite": {"is_reader": True},
        }
        self._singly = engine.execution_options(**modes.get(engine.dialect.name, {}))
        # SQLite has one writer: waiting here is fair, waiting in the database is a lottery
        self._writer = asyncio.Lock() if is_embedded else None
        self._locks = AdvisoryLocks(
            lambda: make_engine(self._url, Limits(1, statement_s=LOCK_WITHIN_S)), self.sql.dialect
        )
        self._reserved: list[Database] = []
        self._room: asyncio.Semaphore | None = None

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
        return cls(make_ledger_engine(url, pool_size), Tables.named(table_name), clock)

    def beside(
        self,
        *,
        idle_timeout_s: int = IDLE_TIMEOUT_S,
        statement_timeout_s: float | None = STATEMENT_TIMEOUT_S,
    ) -> Self:
        """Return the same database over other connections, for work that is not the ledger's."""
        engine = make_engine(self._url, Limits(self.pool_size, statement_timeout_s, idle_timeout_s))
        database = type(self)(engine, self.tables, self.clock or utc_now)
        database.max_job_data_bytes = self.max_job_data_bytes
        return database

    def reserved(self) -> "Database":
        """Return the same database over one connection of its own, which nobody else takes.

        SQLite, which has one writer for everybody, returns itself. It is closed with this one.
        """
        if self._writer is not None:
            return self
        database = type(self)(make_ledger_engine(self._url, 1), self.tables)
        database.complaints = self.complaints
        self._reserved.append(database)
        return database

    def apart(self, *, connections: int, statement_s: float) -> "Database":
        """Return the same database over a few connections of its own, whose statements end sooner.

        SQLite, which has no server, returns itself. It is closed with this one.
        """
        if self._writer is not None:
            return self
        engine = make_ledger_engine(self._url, connections, statement_s)
        database = type(self)(engine, self.tables)
        database.complaints = self.complaints
        self._reserved.append(database)
        return database

    def leaving(self, connections: int) -> "Database":
        """Return the same database, whose users leave at least so many connections to others.

        SQLite, which opens as many as it needs, returns itself.
        """
        if self._writer is not None:
            return self
        database = copy(self)
        places = max(1, self.pool_size - connections)
        database._room = asyncio.Semaphore(places)  # noqa: SLF001 - our own class
        return database

    @property
    def pool_size(self) -> int:
        """How many connections there may be at a time; SQLite opens as many as it needs."""
        pool = self.engine.pool
        return pool.size() if isinstance(pool, sa.QueuePool) else 1

    async def reach(self) -> None:
        """Open a connection, without a word in the log.

        Raises:
            DatabaseUnavailable: there is none; `trouble.is_of_url` says whether it is worth a wait.
        """
        with in_our_words():
            async with self.engine.connect():
                pass

    async def close(self) -> None:
        """Close all connections."""
        for database in self._reserved:
            await database.close()
        await self._locks.close()
        await self.engine.dispose()

    async def transact(
        self,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `work` in a transaction, again while its failure is transient, for a few seconds.

        Raises:
            DatabaseUnavailable: the database did not answer in time, or not as it should.
            BatchRefused: the database refused what it was asked to store.
        """
        return await self.transact_within(PATIENCE_S, work, *args, **kwargs)

    async def transact_within(
        self,
        patience_s: float,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Like `transact`, with another patience."""
        return await self._transact_while(_may_pass, patience_s, work, *args, **kwargs)

    async def transact_past_outages(
        self,
        patience_s: float,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Like `transact_within`, but wait for a database that is away, and for nothing else.

        Raises:
            RowLocked: at once, so that the rows beside it need not wait.
            StatementRejected: at once.
            DatabaseUnavailable: at once, if it may be of one row.
        """
        return await self._transact_while(_is_outage, patience_s, work, *args, **kwargs)

    async def read(
        self,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `work` that only reads; on SQLite it does not wait for the writer.

        Raises:
            DatabaseUnavailable: the database did not answer, or not as it should.
            BatchRefused: the database refused what it was asked for.
        """
        try:
            with in_our_words():
                async with self._place(), self._singly.connect() as connection:
                    result = await work(Books(connection, self), *args, **kwargs)
        except DatabaseUnavailable as error:
            self.complaints.note(work, error)
            raise
        self.complaints.forget(work)
        return result

    @asynccontextmanager
    async def alone(self, purpose: str) -> AsyncIterator[bool]:
        """Hold an advisory lock of the deployment, if nobody does; say whether it is held.

        SQLite has none: its one process is always alone.

        Raises:
            DatabaseUnavailable: the database did not answer.
        """
        if self.sql.dialect.try_advisory_lock is None:
            yield True
            return
        key = f"{self.tables.programs.name}:{purpose}"
        with in_our_words():
            is_alone = await self._locks.take(key)
        try:
            yield is_alone
        finally:
            if is_alone:
                # a session that is gone holds it no more
                with suppress(DatabaseUnavailable), in_our_words():
                    await self._locks.give_back(key)

    async def stay_alone(self) -> None:
        """Keep the advisory locks of this process in a turn that takes long."""
        if self.sql.dialect.try_advisory_lock is not None:
            with in_our_words():
                await self._locks.keep()

    @property
    def commits_statements(self) -> bool:
        """Whether one statement can change rows, write of it elsewhere, and answer."""
        return self.sql.dialect.name == "postgresql"

    async def _transact_while(
        self,
        is_retried: Callable[[DatabaseUnavailable], bool],
        patience_s: float,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        patience, notes = Patience(patience_s), dict[object, Any]()
        while True:
            try:
                return await self._transact_once(notes, work, *args, **kwargs)
            except DatabaseUnavailable as error:
                self.complaints.note(work, error, failing_s=patience.spent_s)
                if not is_retried(error) or not await patience.pause():
                    raise

    async def _transact_once(
        self,
        notes: dict[object, Any],
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with in_our_words():
            async with self._place(), self._transaction(work) as books:
                books.notes = notes  # the same for every try
                result = await work(books, *args, **kwargs)
        reach_commit(work, "after")
        self.complaints.forget(work)
        return result

    def _place(self) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self._room is None else _within(self._room)

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

    @property
    def _url(self) -> str:
        return self.engine.url.render_as_string(hide_password=False)


def _may_pass(_error: DatabaseUnavailable) -> bool:
    return True


def _is_outage(error: DatabaseUnavailable) -> bool:
    return not isinstance(error, StatementRejected) and not error.is_of_one_row


@asynccontextmanager
async def _within(room: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CONNECTION_WITHIN_S):
            await room.acquire()
    except TimeoutError as error:
        msg = "All connections that requests may use are busy; see DATABASE_POOL_SIZE."
        raise DatabaseUnavailable(msg) from error
    try:
        yield
    finally:
        room.release()
