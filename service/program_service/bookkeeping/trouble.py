"""Trouble: which failures of a database may pass, and which are its refusal."""

import asyncpg
from sqlalchemy import exc

# asyncpg's own errors come through when they happen while a connection is made
FAILURES = (exc.SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

# SQLSTATE classes by which the server refuses what it was asked to do: cardinality, data,
# integrity, syntax and access, WITH CHECK OPTION, limits. All others tell of trouble that may pass.
REFUSALS = {"21", "22", "23", "42", "44", "54"}
AWAY = {"57P01", "57P02", "57P03"}
"""PostgreSQL shuts down, has crashed, or is starting up."""
LOCKED = "55P03"
"""PostgreSQL's lock_timeout is over."""
UNDEFINED_TABLE = "42P01"
"""The tables are not there yet, or not any more: no reason to drop an outcome."""

# MariaDB's and MySQL's errors by number: NULL where none may be, doubled, referred to, too large
# for a packet, out of range, wrong, too long, no JSON, forbidden by a CHECK
MYSQL_REFUSALS = {
    *(1048, 1062, 1451, 1452, 1153, 1264, 1265, 1292, 1366, 1406, 3140, 3141, 3819, 4025, 4038),
    *(1054, 1064, 1136, 1142, 1143),  # an unknown column, wrong syntax, no right to do so
}


def is_transient(error: BaseException) -> bool:
    """Say whether running the whole transaction again may succeed."""
    if not isinstance(error, exc.DBAPIError):
        return not isinstance(error, exc.SQLAlchemyError) or isinstance(error, exc.TimeoutError)
    if error.connection_invalidated or isinstance(error, exc.InterfaceError):
        return True
    if isinstance(error, exc.DataError | exc.IntegrityError):
        return False
    number = error.orig.args[0] if error.orig and error.orig.args else None
    if isinstance(number, int):
        return number not in MYSQL_REFUSALS
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # SQLite: locked, full, unreadable, without tables
        return isinstance(error, exc.OperationalError) and "malformed" not in str(error.orig)
    return state[:2] not in REFUSALS or state == UNDEFINED_TABLE


def is_away(error: BaseException) -> bool:
    """Say whether the database itself was not to be had, whatever it was asked."""
    if not isinstance(error, exc.DBAPIError) or error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in AWAY


def is_lock_timeout(error: exc.DBAPIError) -> bool:
    """Say whether a statement waited for a lock for longer than it may."""
    return getattr(error.orig, "sqlstate", None) == LOCKED
