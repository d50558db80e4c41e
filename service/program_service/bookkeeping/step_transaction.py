"""Step transaction: a job's own work in this database, committed together with its step.

The fence is checked after everything that the job did, in the same transaction: either its work and
the record of its step are both committed, or neither is. So its effects happen exactly once.
"""

import asyncio
from types import TracebackType
from typing import Self, TypeAlias

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotCommitted, NoTransactions
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord, read_back, record
from program_service.bookkeeping.lifecycle import Failure, Outcome, Released, RetryLater
from program_service.bookkeeping.trouble import FAILURES, is_away, is_transient

StepSession: TypeAlias = AsyncSession
"""What a job works with; its `commit` and `rollback` are those of a savepoint."""

FOR_EVER_S = float("inf")
AWAY_PAUSE_S = 1.0
"""When a step is tried again whose database went away."""

CLOSE_WITHIN_S = 5.0
IDLE_TIMEOUT_S = 60
"""How long a job may do something else in its transaction; then its rows are free again."""


class StepConnections:
    """Connections for jobs alone, so that those that hold some never keep leases from renewal."""

    def __init__(self, database: Database) -> None:
        """Take the database of the bookkeeping; nothing is connected yet."""
        self.books = database
        self._own: Database | None = None
        self._free = asyncio.Semaphore(database.pool_size)

    async def connect(self) -> AsyncConnection:
        """Return a connection in a transaction, when one is free; give it back by `close`.

        Raises:
            NoTransactions: the database has one writer, for which everybody would wait.
            DBAPIError: the database is not to be had.
        """
        if self.books.sql.dialect.name == "sqlite":
            raise NoTransactions
        await self._free.acquire()
        try:
            self._own = self._own or self.books.beside(idle_timeout_s=IDLE_TIMEOUT_S)
            connection = await self._own.engine.connect()
            await connection.begin()
        except BaseException as error:
            self._free.release()
            if isinstance(error, FAILURES) and not isinstance(error, exc.SQLAlchemyError):
                # as SQLAlchemy says it; a bare OSError could be anything that the job does
                raise exc.OperationalError(
                    "BEGIN", None, error, connection_invalidated=True
                ) from error
            raise
        return connection

    async def close(self, connection: AsyncConnection) -> None:
        """Roll back what is not committed, and make room for the next."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await connection.close()
        except (*FAILURES, TimeoutError):
            await connection.invalidate()
        finally:
            self._free.release()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._own is not None:
            await self._own.close()


class StepTransaction:
    """The transaction of one step; it begins when the job asks for it."""

    def __init__(self, connections: StepConnections) -> None:
        """Take where connections come from."""
        self._connections = connections
        self._connection: AsyncConnection | None = None
        self._session: AsyncSession | None = None
        self._beginning = asyncio.Lock()
        self.was_asked_for = False
        """Whether the job has wanted it, also where it could not be begun."""

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Roll back what was not committed."""
        await self.roll_back()

    @property
    def is_open(self) -> bool:
        """Whether it has begun."""
        return self._session is not None

    async def begin(self) -> StepSession:
        """Begin it, or return the session of the one that has begun.

        Raises:
            NoTransactions: the database is SQLite.
        """
        self.was_asked_for = True
        async with self._beginning:
            if self._session is None:
                self._connection = await self._connections.connect()
                self._session = AsyncSession(
                    bind=self._connection,
                    expire_on_commit=False,
                    join_transaction_mode="create_savepoint",
                )
            return self._session

    async def flush(self) -> None:
        """Write what the session holds and end its savepoint; the job's event handlers run in here.

        Raises:
            Exception: whatever such a handler raises, as the job itself may.
        """
        if self._session is not None:
            await self._session.commit()

    async def commit_with(self, step: StepRecord) -> Recorded | None:
        """Commit what the job did together with its step; None when its lease was lost.

        Raises:
            NotCommitted: nothing was committed; its cause says why.
        """
        try:
            return await self._commit_with(step)
        except FAILURES as error:
            await self.roll_back()
            # the answer to a COMMIT may be lost: then the receipt stands (rule R4)
            books = self._connections.books
            if recorded := await books.transact_within(FOR_EVER_S, read_back, step):
                return recorded
            raise NotCommitted from error

    async def roll_back(self) -> None:
        """Undo what the job did, if it is not committed."""
        connection, self._connection, self._session = self._connection, None, None
        if connection is not None:
            await self._connections.close(connection)

    async def _commit_with(self, step: StepRecord) -> Recorded | None:
        assert self._connection is not None
        (recorded,) = await record(Books(self._connection, self._connections.books), [step])
        if recorded is not None:
            await self._connection.commit()
        await self.roll_back()
        return recorded


def passing_outcome(error: BaseException) -> Outcome | None:
    """Say what becomes of a step whose transaction failed for a reason that may pass, else None.

    A database that went away costs no attempt; a deadlock is the job's own, and does. Of what the
    job itself raises, only what is surely a database's error is meant.
    """
    kinds: tuple[type[BaseException], ...] = (exc.DBAPIError,)
    if isinstance(error, NotCommitted) and error.__cause__ is not None:
        error, kinds = error.__cause__, FAILURES
    if not issubclass(type(error), kinds) or not is_transient(error):
        return None
    if is_away(error):
        return Released(AWAY_PAUSE_S)
    text = str(getattr(error, "orig", error))
    return RetryLater(Failure(text, type=type(error).__name__, code="not_committed"))
