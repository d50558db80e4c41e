"""Servers: where tests get a PostgreSQL from, and a database of the run's own on it.

PROGRAM_EXECUTOR_TEST_DATABASE_URL, when it is set
── else a server that answers on 127.0.0.1:5432 (user postgres, trusted)
── else a private one from the Debian packages, installed when we are root
── else NoPostgresError, which says what was missing: the tests are skipped by name
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
import sqlalchemy as sa

from private_postgres import NoPostgresError, answers, execute, private_postgres
from program_service.bookkeeping.database import Database

D = TypeVar("D", bound=Database)

URL_VARIABLE = "PROGRAM_EXECUTOR_TEST_DATABASE_URL"
STANDARD_URL = "postgresql://postgres@127.0.0.1:5432/postgres"

on_postgresql = pytest.mark.parametrize("place", ["postgresql"], indirect=True)
"""For tests of what only PostgreSQL does."""

on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""For tests of what only SQLite does."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where migrated tables are."""

    url: str
    table_name: str


class Connect:
    """Opens connections to a test's tables, each as another process would."""

    def __init__(self, place: Place) -> None:
        """Take where the tables are."""
        self._place = place
        self._opened: list[Database] = []

    def __call__(self) -> Database:
        """Open one more; the fixture closes it."""
        return self.of(Database)

    def of(self, kind: type[D]) -> D:
        """Open one of another kind."""
        database = kind.connect(self._place.url, table_name=self._place.table_name)
        self._opened.append(database)
        return database

    async def close(self) -> None:
        """Close them all."""
        for database in self._opened:
            await database.close()


@contextmanager
def own_database() -> Iterator[str]:
    """Make a database for this run on the first server there is; yield its URL, drop it after.

    Raises:
        NoPostgresError: there is no server, and none could be started.
    """
    with _server() as server_url:
        name = f"program_executor_test_{uuid.uuid4().hex[:12]}"
        execute(server_url, f"CREATE DATABASE {name}")
        # no test of the ledger crashes the server: the disk need not confirm each commit
        execute(server_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
        try:
            url = sa.make_url(server_url).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _server() -> Iterator[str]:
    given = os.environ.get(URL_VARIABLE)
    if given:
        _require_postgres(given)
        yield given
    elif answers(STANDARD_URL):
        yield STANDARD_URL
    else:
        with private_postgres() as server:
            yield server.url


def _require_postgres(given: str) -> None:
    url = sa.make_url(given)
    if url.get_backend_name() not in {"postgres", "postgresql"}:
        msg = f"{URL_VARIABLE} names another kind of database: {url!r}"
        raise NoPostgresError(msg)
    if not answers(given):
        msg = f"{URL_VARIABLE} is set, but nothing answers there: {url!r}"
        raise NoPostgresError(msg)
