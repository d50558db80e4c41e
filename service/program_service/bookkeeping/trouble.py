"""Trouble: what an error of the database means for the work that met it.

passing    the same work may succeed later: an outage, a deadlock, a full disk
blocked    the same: somebody else holds a lock, or the statement took too long
rejected   it may succeed once somebody has repaired the deployment: a privilege or a table is
           missing, or the statement is a bug of ours
refused    the database does not take these rows: it never succeeds

The first three are closed lists, in `error_codes`. Everything else is refused, so that an error of
one row that nobody foresaw never holds up others for ever: a user's trigger may raise anything.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import asyncpg
from sqlalchemy import exc

from program_service.bookkeeping import error_codes as codes
from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    RowLocked,
    StatementRejected,
)
from program_service.tls_files import is_of_certificates

# asyncpg's own errors come through when they happen while a connection is made
FAILURES = (
    *(exc.SQLAlchemyError, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
)


class Kind(Enum):
    """What an error of the database means."""

    PASSING = "passing"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    REFUSED = "refused"


MAX_CAUSES = 10

NOBODY_ASKED = "the driver cancelled the statement, and nobody asked it to"


def kind_of(error: BaseException) -> Kind:
    """Say what an error of the database means."""
    if isinstance(error, exc.DBAPIError):
        return Kind.PASSING if error.connection_invalidated else _kind_of_driver(error.orig)
    if isinstance(error, exc.SQLAlchemyError):
        return Kind.PASSING if isinstance(error, exc.TimeoutError) else Kind.REFUSED
    return Kind.PASSING if isinstance(error, OSError) else _kind_of_driver(error)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Let no error of a driver out, and no cancellation that nobody asked for."""
    with heeding_cancellation():
        try:
            yield
        except FAILURES as error:
            raise error_of(error) from error


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Let no cancellation out that nobody asked for: a driver raised it, and it is an outage.

    A cancellation that somebody did ask for is heeded, also when a driver swallowed it:
    `asyncio.wait_for`, by which asyncmy reads, does so before Python 3.12 when what it waits for
    comes at the same moment. A loop that was told to end would never do so.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    except asyncio.CancelledError as error:
        if task.cancelling() > before:
            raise
        raise DatabaseUnavailable(_after(DatabaseUnavailable, NOBODY_ASKED)) from error
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def error_of(error: BaseException) -> BookkeepingError:
    """Say it as an error of the bookkeeping, in the database's own words."""
    words = words_of(error)
    match kind_of(error):
        case Kind.PASSING:
            text = _after(DatabaseUnavailable, words)
            return DatabaseUnavailable(text, is_of_one_row=_is_of_a_function(error))
        case Kind.BLOCKED:
            return RowLocked(_after(RowLocked, words))
        case Kind.REJECTED:
            text = _after(StatementRejected, words)
            return StatementRejected(text, is_of_one_row=_is_of_a_function(error))
        case Kind.REFUSED:
            return BatchRefused(words)


def _after(kind: type[BookkeepingError], words: str) -> str:
    """Put words after the default message of an error."""
    return f"{(kind.__doc__ or '').rstrip('.')}: {words}"


def words_of(error: BaseException) -> str:
    """Return what the database or its driver said, on one line, with the code if there is one."""
    if isinstance(error, exc.TimeoutError):
        return "all connections of this process stayed in use (DATABASE_POOL_SIZE)"
    said = getattr(error, "orig", None) or error
    number, *texts = said.args or ("",)
    has_number = isinstance(number, int) and bool(texts) and not isinstance(said, OSError)
    text = str(texts[0] if has_number else said).partition("\n")[0] or type(said).__name__
    code = number if has_number else getattr(said, "sqlstate", None)
    return f"{text} ({code})" if code else text


def is_transient(error: BaseException) -> bool:
    """Say whether running the whole transaction again may succeed."""
    return kind_of(error) in {Kind.PASSING, Kind.BLOCKED}


def is_away(error: BaseException) -> bool:
    """Say whether the database itself was not to be had, whatever it was asked."""
    if not isinstance(error, exc.DBAPIError) or error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in codes.AWAY


def is_of_url(error: BaseException) -> bool:
    """Say whether a first connection failed because of what the URL says: waiting does not help."""
    causes = list(_causes(error))
    return any(map(_is_of_url, causes)) or any(map(_is_of_file, causes))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and what it came from."""
    for _ in range(MAX_CAUSES):
        if error is None:
            return
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _is_of_url(error: BaseException) -> bool:
    if is_of_certificates(error):
        return True
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return True  # the driver cannot be configured so
    if any(words in str(error) for words in codes.NO_SERVER):
        return True
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    state = getattr(error, "sqlstate", None) or ""
    return number in codes.MYSQL_ADMISSION or state.startswith(codes.ADMISSION)


def _is_of_file(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in codes.SQLITE_FILE


def _kind_of_driver(error: BaseException | None) -> Kind:
    """Say what the error of a driver means, by its code."""
    if isinstance(error, sqlite3.Error):
        return _kind_of_sqlite(error)
    code = error.args[0] if error is not None and error.args else None
    if isinstance(code, int):
        return _kind_of_mysql(code)
    state = getattr(error, "sqlstate", None)
    return _kind_without_code(error) if state is None else _kind_of_state(state, error)


def _kind_of_state(state: str, error: BaseException | None) -> Kind:
    if isinstance(_cause_of(error), asyncpg.InvalidCachedStatementError):
        return Kind.PASSING  # a table has a new column, and the plan will be made again
    for kind, states in (
        (Kind.BLOCKED, codes.BLOCKED),
        (Kind.PASSING, codes.PASSING),
        (Kind.REJECTED, codes.REJECTED),
    ):
        if state.startswith(states):
            return kind
    return Kind.REFUSED


def _kind_of_mysql(number: int) -> Kind:
    if number in codes.MYSQL_BLOCKED:
        return Kind.BLOCKED
    if number in codes.MYSQL_PASSING or number in codes.MYSQL_CLIENT:
        return Kind.PASSING
    return Kind.REJECTED if number in codes.MYSQL_REJECTED else Kind.REFUSED


def _kind_of_sqlite(error: sqlite3.Error) -> Kind:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return Kind.PASSING if str(error).startswith(codes.SQLITE_GONE) else Kind.REFUSED
    primary = code & 0xFF  # the rest tells more
    if primary in codes.SQLITE_PASSING:
        return Kind.PASSING
    is_wrong = codes.SQLITE_WRONG.match(str(error)) is not None
    return Kind.REJECTED if is_wrong or primary in codes.SQLITE_REJECTED else Kind.REFUSED


def _kind_without_code(error: BaseException | None) -> Kind:
    """Say what an error means that no server sent: the driver lost it, or cannot send a value."""
    if isinstance(_cause_of(error), asyncpg.DataError):
        return Kind.REFUSED
    names = {each.__name__ for each in type(error).__mro__}
    return Kind.PASSING if names & codes.LOST_BY_THE_DRIVER else Kind.REFUSED


def _cause_of(error: BaseException | None) -> BaseException | None:
    """Return the driver's own error, inside that of SQLAlchemy's adapter for it."""
    return getattr(error, "__cause__", None) or error


def _is_of_a_function(error: BaseException) -> bool:
    """Say whether a function in the database raised it, which may be a user's trigger for one row.

    What is in the context of other errors is where the server was: "while updating tuple …".
    """
    context = getattr(_cause_of(getattr(error, "orig", None) or error), "context", None)
    return isinstance(context, str) and any(word in context for word in codes.FUNCTION)
