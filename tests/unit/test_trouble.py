"""Trouble: what an error of the database means; only closed lists are tried again."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import exc

from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    RowLocked,
    StatementRejected,
)
from program_service.bookkeeping.trouble import error_of, in_our_words, is_transient


def of_postgresql(sqlstate: str, **fields: str) -> exc.DBAPIError:
    """Make an error as SQLAlchemy raises those of asyncpg."""
    told = asyncpg.PostgresError("oh")
    vars(told).update(fields)
    return _wrapped(_Adapted("oh", sqlstate), told)


class _Adapted(Exception):
    def __init__(self, text: str, sqlstate: str | None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def _wrapped(adapted: Exception, cause: BaseException | None = None) -> exc.DBAPIError:
    adapted.__cause__ = cause
    return exc.DBAPIError("SELECT 1", None, adapted)


def of_mysql(number: int) -> exc.DBAPIError:
    """Make an error as SQLAlchemy raises those of asyncmy."""
    return _wrapped(Exception(number, "oh"))


STATES: dict[type[BookkeepingError], str] = {
    DatabaseUnavailable: """
        08006 08P01 25006 25P02 25P03 25P04 40001 40P01 40003 53100 53300 55006 57P01 57P03 57P05
        58030 58000 72000
    """,
    RowLocked: "55P03 57014",
    StatementRejected: "0A000 26000 28000 28P01 3D000 3F000 42501 42601 42703 42P01 42P05 55000",
    BatchRefused: """
        P0001 P0002 P0004 21000 22001 22003 22012 22021 22P05 23502 23505 23514 23P01 27000 2F003
        38000 39000 44000 54000 54001 AB123 HV000 XX000 XX001
    """,
}
NUMBERS: dict[type[BookkeepingError], str] = {
    DatabaseUnavailable: """
        0 1021 1040 1053 1114 1158 1203 1213 1290 1836 1927 2003 2006 2013 4031
    """,
    RowLocked: "1205 1969 3024 3572",
    StatementRejected: "1044 1045 1049 1054 1064 1142 1143 1146 1227 1305 1698",
    BatchRefused: "1048 1062 1264 1366 1406 1644 3140 3819 4025 9999 45000",
}
EXAMPLES: list[tuple[type[BookkeepingError], exc.DBAPIError, str]] = [
    *((kind, of_postgresql(code), code) for kind, of in STATES.items() for code in of.split()),
    *((kind, of_mysql(int(code)), code) for kind, of in NUMBERS.items() for code in of.split()),
]


@pytest.mark.parametrize(
    ("kind", "error"), [pytest.param(kind, error, id=code) for kind, error, code in EXAMPLES]
)
def test_code_says_what_an_error_means(kind: type[BookkeepingError], error: exc.DBAPIError) -> None:
    told = error_of(error)
    assert type(told) is kind
    assert "oh" in str(told)
    assert is_transient(error) == (kind in {DatabaseUnavailable, RowLocked})


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (DatabaseUnavailable, ConnectionRefusedError(111, "refused")),
        (DatabaseUnavailable, TimeoutError()),
        (DatabaseUnavailable, asyncpg.CannotConnectNowError("starting up")),
        (DatabaseUnavailable, asyncpg.InterfaceError("connection is closed")),
        (DatabaseUnavailable, asyncpg.InternalClientError("unexpected message")),
        (DatabaseUnavailable, exc.TimeoutError("QueuePool limit")),
        (StatementRejected, asyncpg.InvalidPasswordError("no")),
        (StatementRejected, asyncpg.InvalidCatalogNameError("no")),
        (BatchRefused, asyncpg.DataError("invalid input for query argument $1")),
        (BatchRefused, exc.StatementError("naive", "SELECT 1", None, ValueError("naive"))),
    ],
)
def test_error_without_a_statement_is_known_too(
    kind: type[BookkeepingError], error: Exception
) -> None:
    assert type(error_of(error)) is kind


def test_value_that_a_driver_cannot_send_is_refused() -> None:
    """SQLAlchemy takes asyncpg's DataError for an InterfaceError, as those of lost connections."""
    unsendable = _wrapped(_Adapted("value out of range", None), asyncpg.DataError("out of range"))
    assert type(error_of(unsendable)) is BatchRefused


def test_plan_of_a_table_that_has_changed_is_made_again() -> None:
    """A migration beside running workers must not alarm anybody: SQLSTATE 0A000."""
    plan = asyncpg.InvalidCachedStatementError("cached statement plan is invalid")
    assert type(error_of(_wrapped(_Adapted("oh", "0A000"), plan))) is DatabaseUnavailable


@pytest.mark.parametrize("is_in_a_function", [False, True])
def test_rejection_in_a_trigger_may_be_of_one_row(*, is_in_a_function: bool) -> None:
    context = {"context": "PL/pgSQL function audit() line 3"} if is_in_a_function else {}
    told = error_of(of_postgresql("42703", **context))
    assert isinstance(told, StatementRejected)
    assert told.is_of_one_row == is_in_a_function


def _select(table: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    ("kind", "do"),
    [
        (StatementRejected, _select("nothing")),
        (StatementRejected, lambda it: it.execute("SELECT nothing FROM there")),
        (StatementRejected, lambda it: it.execute("INSERT INTO there (nothing) VALUES (1)")),
        (StatementRejected, lambda it: it.execute("SELEC")),
        (BatchRefused, lambda it: it.execute("SELECT json_extract('{', '$')")),
        (BatchRefused, lambda it: it.execute("INSERT INTO there VALUES (NULL)")),
        (BatchRefused, lambda it: it.execute("SELECT ?", (object(),))),
    ],
)
def test_sqlite_is_understood(
    kind: type[BookkeepingError], do: Callable[[sqlite3.Connection], object]
) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE there (number INTEGER NOT NULL)")
    with pytest.raises(sqlite3.Error) as raised:
        do(connection)
    connection.close()
    assert type(error_of(_wrapped(raised.value))) is kind


def test_file_of_sqlite_that_is_missing_locked_or_none_is_waited_for(tmp_path: Path) -> None:
    def told(path: Path) -> BookkeepingError:
        connection = sqlite3.connect(path, timeout=0)
        try:
            with pytest.raises(sqlite3.Error) as raised:
                connection.execute("CREATE TABLE there (number INTEGER)")
        finally:
            connection.close()
        return error_of(_wrapped(raised.value))

    (tmp_path / "text.db").write_text("no database at all" * 100)
    assert type(told(tmp_path / "text.db")) is StatementRejected
    holder = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert type(told(tmp_path / "locked.db")) is DatabaseUnavailable
    holder.close()
    with pytest.raises(sqlite3.OperationalError) as raised:
        sqlite3.connect(tmp_path / "no" / "such.db")
    assert type(error_of(_wrapped(raised.value))) is DatabaseUnavailable


async def test_cancellation_that_nobody_asked_for_is_an_outage() -> None:
    with pytest.raises(DatabaseUnavailable), in_our_words():
        raise asyncio.CancelledError


async def test_cancellation_that_somebody_asked_for_is_heeded() -> None:
    async def work() -> None:
        with in_our_words():
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
