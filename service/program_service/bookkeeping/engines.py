"""Engines: connections to each database, with everything set that the ledger relies on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from program_service.bookkeeping.tables import MOMENT_FORMAT

DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}

STATEMENT_TIMEOUT_S = 30

UtcClock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return this host's time; only SQLite, which has no server, takes it for the database's."""
    return datetime.now(UTC)


def make_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """Make an engine from a URL as people have it; nothing is connected yet.

    Raises:
        ValueError: the URL names a database that is not supported.
    """
    engine = create_async_engine(driver_url(url), **_engine_options(url, pool_size))
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return engine


def driver_url(url: str) -> sa.URL:
    """Turn a URL as people have it into one that names our driver.

    Raises:
        ValueError: the URL names a database that is not supported.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        msg = f"{url.partition(':')[0]!r}… is no URL; use postgresql://… or sqlite:///path"
        raise ValueError(msg) from error
    scheme = parsed.drivername.partition("+")[0]
    if scheme not in DRIVERS:
        msg = f"{scheme}://… is not supported; use postgresql://… or sqlite:///path"
        raise ValueError(msg)
    query = dict(parsed.query)
    if "sslmode" in query:  # libpq's word; asyncpg's is ssl
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername=DRIVERS[scheme], query=query)


def _engine_options(url: str, pool_size: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "hide_parameters": True,  # they are the users' data, and errors are logged
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }
    if url.startswith("sqlite"):
        return options
    settings = {
        "application_name": "program-executor",
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": "60000",
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",
        "random_page_cost": "1.1",  # disks do not turn any more
        # a plan made while the table was empty would scan it for as long as the connection lives
        "plan_cache_mode": "force_custom_plan",
    }
    connect = {"server_settings": settings, "timeout": 5, "command_timeout": STATEMENT_TIMEOUT_S}
    return options | {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": 10,
        "connect_args": connect,
    }


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Give every connection our functions, the write-ahead log, and BEGIN IMMEDIATE for writers."""

    def later(now: str, seconds: float) -> str:
        return (datetime.fromisoformat(now) + timedelta(seconds=seconds)).strftime(MOMENT_FORMAT)

    def moment(text: str | None) -> str | None:
        if text is None:
            return None
        # what people write by hand has no zone, and is UTC like all the rest
        parsed = datetime.fromisoformat(text)
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return aware.astimezone(UTC).strftime(MOMENT_FORMAT)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
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
