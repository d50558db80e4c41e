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
from program_service.bookkeeping.errors import (
    BookkeepingError,
    DatabaseUnavailable,
    JobDataTooLarge,
    NotCommitted,
    NoTransactions,
)
from program_service.bookkeeping.idling import Idling
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord, read_back, record
from program_service.bookkeeping.lifecycle import Claimed, Failure, Outcome, RetryLater
from program_service.bookkeeping.setbacks import Setbacks
from program_service.bookkeeping.trouble import (
    FAILURES,
    Kind,
    error_of,
    heeding_cancellation,
    in_our_words,
    is_away,
    is_transient,
    kind_of,
    words_of,
)

StepSession: TypeAlias = AsyncSession
"""What a job works with; its `commit` and `rollback` are those of a savepoint."""

FOR_EVER_S = float("inf")

CLOSE_WITHIN_S = 5.0
IDLE_TIMEOUT_S = 60
"""How long a job may do something else in its transaction; then its rows are free again."""


class StepConnections:
    """Connections for jobs alone, so that those that hold some never keep leases from renewal."""

    def __init__(self, database: Database) -> None:
        """Take the database of the bookkeeping; nothing is connected yet."""
        self.books = database
        self.setbacks = Setbacks()
        self._own: Database | None = None
        self._free = asyncio.Semaphore(database.pool_size)

    async def connect(self) -> AsyncConnection:
        """Return a connection in a transaction, when one is free; give it back by `close`.

        Raises:
            NoTransactions: the database has one writer, for which everybody would wait.
            DatabaseUnavailable: the database is not to be had; the job has not done anything yet.
        """
        if self.books.sql.dialect.name == "sqlite":
            raise NoTransactions
        await self._free.acquire()
        try:
            with in_our_words():
                self._own = self._own or self.books.beside(idle_timeout_s=IDLE_TIMEOUT_S)
                connection = await self._own.engine.connect()
                await connection.begin()
        except BaseException:
            self._free.release()
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

    def __init__(self, connections: StepConnections, program: Claimed) -> None:
        """Take where connections come from, and whose step it is."""
        self._connections = connections
        self._program = program
        self._connection: AsyncConnection | None = None
        self._session: AsyncSession | None = None
        self._beginning = asyncio.Lock()
        self._idling = Idling(IDLE_TIMEOUT_S)
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
            DatabaseUnavailable: it cannot begin; the step is given back, and costs no attempt.
        """
        self.was_asked_for = True
        async with self._beginning:
            if self._session is None:
                self._connection = await self._connections.connect()
                self._idling.watch(self._connection)
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
            with heeding_cancellation():
                return await self._commit_with(step)
        except (*FAILURES, BookkeepingError) as error:
            await self.roll_back()
            # the answer to a COMMIT may be lost: then the receipt stands (rule R4)
            books = self._connections.books
            if recorded := await books.transact_within(FOR_EVER_S, read_back, step):
                return recorded
            raise NotCommitted from _as_of_sqlalchemy(error)

    async def roll_back(self) -> None:
        """Undo what the job did, if it is not committed."""
        connection, self._connection, self._session = self._connection, None, None
        if connection is not None:
            await self._connections.close(connection)

    def passing_outcome(self, error: BaseException) -> Outcome | None:
        """Say what becomes of the step if its transaction failed for a reason that may pass.

        A database that went away costs no attempt. A deadlock is the job's own, and does, as does a
        transaction that idled. What the job raises otherwise is judged like any exception: None.
        """
        if isinstance(error, NotCommitted):
            if given_back := self._of_our_record(error.__cause__):
                return given_back
            error = error.__cause__ or error
        # not `isinstance`: what a job raises may have a `__class__` that raises
        if not issubclass(type(error), exc.DBAPIError) or not is_transient(error):
            return None
        return self._of_outage(error) if is_away(error) else _retry(error, "not_committed")

    def _of_our_record(self, error: BaseException | None) -> Outcome | None:
        """Give back a step whose record was rejected, which is no fault of its job."""
        if isinstance(error, DatabaseUnavailable):
            return self.give_back(error)
        is_rejected = error is not None and kind_of(error) is Kind.REJECTED
        return self.give_back(error_of(error)) if error and is_rejected else None

    def _of_outage(self, error: BaseException) -> Outcome:
        if self._idling.was_too_long:
            return _retry(error, "transaction_idle", f"{self._idling.words}: ")
        words, setbacks = words_of(error), self._connections.setbacks
        given_back = setbacks.give_back_a_few_times(self._program, words)
        return given_back or _retry(error, "database_away")

    def give_back(self, error: BaseException) -> Outcome:
        """Give the step back, as what it asked of this program executor could not be done."""
        return self._connections.setbacks.give_back(self._program, str(error))

    async def _commit_with(self, step: StepRecord) -> Recorded | None:
        assert self._connection is not None
        (recorded,) = await record(Books(self._connection, self._connections.books), [step])
        if isinstance(recorded, JobDataTooLarge):
            raise recorded
        if recorded is not None:
            await self._connection.commit()
        await self.roll_back()
        return recorded


def _retry(error: BaseException, code: str, because: str = "") -> RetryLater:
    failure = Failure(because + words_of(error), type=type(error).__name__, code=code)
    return RetryLater(failure)


def _as_of_sqlalchemy(error: BaseException) -> BaseException:
    """Say a driver's bare error as SQLAlchemy does; an OSError could be anything of the job's."""
    if isinstance(error, FAILURES) and not isinstance(error, exc.SQLAlchemyError):
        return exc.OperationalError("COMMIT", None, error, connection_invalidated=True)
    return error
