"""Engines: connections to each database, with everything set that the ledger relies on."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import asyncpg
import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.stored import (
    EARLIEST,
    moment_of_postgresql,
    postgresql_of_moment,
    read_json,
    read_moment,
)
from program_service.bookkeeping.tables import written
from program_service.bookkeeping.urls import driver_url

STATEMENT_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 0.5
"""For the last words of a connection; the pool waits for one after the other."""

LOCK_TIMEOUT_S = 0.5
"""How long a statement of the ledger waits for a lock. A commit takes some milliseconds; a row that
is held for longer is held by a person, or by a user's own code."""

IDLE_TIMEOUT_S = 15
"""For a transaction whose client was lost: others wait for its rows, no longer than a statement."""

UNHEARD_TIMEOUT_S = 30
"""For a session whose answers nobody acknowledges: it may hold the sweeper's lock."""

HEADER = 64
"""Of a packet, generously."""

UtcClock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return this host's time; only SQLite, which has no server, takes it for the database's."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at a time, and how long a statement or a pause may last."""

    connections: int = 10
    statement_s: float | None = STATEMENT_TIMEOUT_S
    """None for migrations: an index of a long table takes its time."""

    idle_s: int = IDLE_TIMEOUT_S
    lock_s: float | None = None
    """None for what is not the ledger's, jobs and migrations: as long as a statement may last."""


def make_ledger_engine(
    url: str, connections: int, statement_s: float = STATEMENT_TIMEOUT_S
) -> AsyncEngine:
    """Make an engine for the ledger: it waits briefly for locks, and reads whatever a row says.

    Raises:
        ValueError: the URL names a database, or an option, that is not supported.
    """
    engine = make_engine(url, Limits(connections, statement_s, lock_s=LOCK_TIMEOUT_S))
    if engine.dialect.name == "postgresql":
        _prepare_postgresql(engine)
    return engine


def make_engine(url: str, limits: Limits) -> AsyncEngine:
    """Make an engine from a URL as people have it; nothing is connected yet.

    Raises:
        ValueError: the URL names a database, or an option, that is not supported.
    """
    parsed = driver_url(url)
    options = COMMON_OPTIONS | OPTIONS[parsed.get_backend_name()](limits)
    try:
        engine = create_async_engine(parsed, **options)
    except ModuleNotFoundError as error:
        msg = "MariaDB and MySQL need a driver: install 'program-executor[mysql]'"
        raise ValueError(msg) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    else:
        _distrust_silence(engine)
    if engine.dialect.name == "mysql":
        _prepare_mysql(engine)
    return engine


COMMON_OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # they are the users' data, and errors are logged
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": read_json,
}


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that does not take as long to close as a statement may last."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Close it, at the latest by force."""
        del timeout
        with suppress(TimeoutError):
            await super().close(timeout=CLOSE_TIMEOUT_S)


def _postgresql_options(limits: Limits) -> dict[str, Any]:
    settings = {
        "application_name": "program-executor",
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": str(limits.idle_s * 1_000),
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        # keepalives are not sent while something is unacknowledged: that would last 15 minutes
        "tcp_user_timeout": str(UNHEARD_TIMEOUT_S * 1_000),
        "jit": "off",
        "random_page_cost": "1.1",  # disks do not turn any more
        # a plan made while the table was empty would scan it for as long as the connection lives
        "plan_cache_mode": "force_custom_plan",
        "statement_timeout": _milliseconds(limits.statement_s),
        "lock_timeout": _milliseconds(limits.lock_s),
    }
    connect = {
        "server_settings": settings,
        "timeout": CONNECT_TIMEOUT_S,
        # the server ends a statement before we take its silence for a lost connection
        "command_timeout": _and_a_moment(limits.statement_s),
        "connection_class": _Connection,
    }
    return _pool_options(limits) | {"connect_args": connect}


def _mysql_options(limits: Limits) -> dict[str, Any]:
    within_s = limits.statement_s
    settings = {
        "time_zone": "'+00:00'",
        # ANSI_QUOTES: a column named "key" is quoted as in every other database
        "sql_mode": "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES'",
        "innodb_lock_wait_timeout": str(ceil(limits.lock_s or STATEMENT_TIMEOUT_S)),
    }
    # what only MariaDB knows stands in a comment that only MariaDB reads
    of_mariadb = {
        "idle_transaction_timeout": str(limits.idle_s),
        "max_statement_time": str(within_s or 0),
        # else a short table is read whole into a buffer, and each of its rows is waited for
        "join_cache_level": "0",
    }
    common = ", ".join(f"{name} = {value}" for name, value in settings.items())
    more = "".join(f", {name} = {value}" for name, value in of_mariadb.items())
    connect = {
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": _and_a_moment(within_s),
        "init_command": f"SET SESSION {common} /*M!100600 {more} */",
    }
    return _pool_options(limits) | {
        "isolation_level": "READ COMMITTED",
        "connect_args": connect,
    }


def _milliseconds(seconds: float | None) -> str:
    """Write a time limit as PostgreSQL takes it, where 0 is none."""
    return str(round((seconds or 0) * 1_000))


def _and_a_moment(seconds: float | None) -> float | None:
    """Return how long the driver waits for a server that gives up by itself in this time."""
    return seconds + CONNECT_TIMEOUT_S if seconds else None


def _sqlite_options(_limits: Limits) -> dict[str, Any]:
    return {}


def _pool_options(limits: Limits) -> dict[str, Any]:
    return {"pool_size": limits.connections, "max_overflow": 0, "pool_timeout": 10}


OPTIONS: dict[str, Callable[[Limits], dict[str, Any]]] = {
    "postgresql": _postgresql_options,
    "mysql": _mysql_options,
    "sqlite": _sqlite_options,
}


def _distrust_silence(engine: AsyncEngine) -> None:
    """Open all connections anew when one of them fell silent, for the others are no better.

    After a database moved, or a firewall forgot us, each would cost its user a whole time-out.
    """

    @event.listens_for(engine.sync_engine, "handle_error")
    def distrust(context: sa.ExceptionContext) -> None:
        # a renewal does not wait for the time-out: it is cancelled when its own patience ends
        if isinstance(context.original_exception, TimeoutError | asyncio.CancelledError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = True


def _prepare_postgresql(engine: AsyncEngine) -> None:
    """Read every moment: the driver raises for the year 20000, and one such row fails all rows."""

    async def read_all(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            encoder=postgresql_of_moment,
            decoder=moment_of_postgresql,
            format="tuple",
        )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.run_async(read_all)


def _prepare_mysql(engine: AsyncEngine) -> None:
    """Refuse what is too long for a packet, so that a batch is split; the server would hang up."""

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT @@max_allowed_packet")
        record.info["max_packet"] = cursor.fetchone()[0] - HEADER
        cursor.close()

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def measure(connection: sa.Connection, *told: Any) -> None:
        _cursor, statement, parameters, *_ = told
        texts = [statement, *(value for value in parameters if isinstance(value, str))]
        limit = connection.connection.info["max_packet"]
        # up to four bytes for a character, and each may be escaped
        if sum(map(len, texts)) * 8 > limit and sum(map(_sent, texts)) > limit:
            msg = f"it is too long for the database's max_allowed_packet of {limit + HEADER} bytes"
            raise BatchRefused(msg)


def _sent(text: str) -> int:
    """Return how many bytes a text has as the driver sends it, at most."""
    return len(text.encode()) + sum(map(text.count, "\"'\\\n\r\0\x1a"))


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _create_private(path: str) -> None:
    """Create a database's file for its owner alone: it has the data, and secrets of endpoints.

    SQLite gives its other files the permissions of this one.
    """
    if not path or path.startswith((":", "file:")):  # none, or more than a name
        return
    with suppress(OSError):  # it is there, or cannot be: SQLite says why
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Give every connection our functions, the write-ahead log, and BEGIN IMMEDIATE for writers."""

    def later(now: str, seconds: float) -> str:
        return written(datetime.fromisoformat(now) + timedelta(seconds=seconds))

    def moment(text: str | None) -> str | None:
        if text is None:
            return None
        # what people write by hand has no zone, and is UTC like all the rest
        return written(read_moment(text) or EARLIEST)

    @event.listens_for(engine.sync_engine, "do_connect")
    def create_private(_dialect: Any, _record: Any, arguments: Any, _options: Any) -> None:
        _create_private(str(arguments[0]))

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        # bytes that are no UTF-8 would fail all rows that are read with them
        connection.driver_connection.text_factory = _decoded
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("program_later", 2, later)
        connection.create_function("program_moment", 1, moment)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        is_reader = connection.get_execution_options().get("is_reader", False)
        connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")
