"""Servers: where tests get a PostgreSQL and a MariaDB from, and databases of the run's own on them.

PROGRAM_EXECUTOR_TEST_DATABASE_URL, when it is set, for the kind of database that it names
── else a server that answers on 127.0.0.1 (5432, user postgres; 3306, user root; no passwords)
── else a private one from the Debian packages, installed when we are root
── else an error that says what was missing: the tests are skipped by name
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa

import private_mariadb
from private_mariadb import NoMariaDbError
from private_postgres import NoPostgresError, answers, execute, private_postgres
from program_service.bookkeeping.database import Database

D = TypeVar("D", bound=Database)

URL_VARIABLE = "PROGRAM_EXECUTOR_TEST_DATABASE_URL"
NO_ANSWER = f"{URL_VARIABLE} is set, but nothing answers there"
STANDARD_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
STANDARD_MARIADB_URL = "mysql://root@127.0.0.1:3306/mysql"

on_postgresql = pytest.mark.parametrize("place", ["postgresql"], indirect=True)
"""For tests of what only PostgreSQL does."""

on_mariadb = pytest.mark.parametrize("place", ["mariadb"], indirect=True)
"""For tests of what only MariaDB does, and of what it does otherwise."""

not_on_mariadb = pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
"""For tests of the contract that MariaDB cannot keep; say why there."""

on_servers = pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
"""For tests of what databases do that have many writers at once."""

on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""For tests of what only SQLite does."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where migrated tables are."""

    url: str
    table_name: str


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where the tables are for the kind of database that `request` names."""
    if request.param != "sqlite":
        migrated: Place = request.getfixturevalue(f"migrated_{request.param}")
        return migrated
    file = tmp_path / "programs.db"
    shutil.copy(request.getfixturevalue("migrated_file"), file)
    return Place(f"sqlite:///{file}", "programs")


class Connect:
    """Opens connections to a test's tables, each as another process would."""

    def __init__(self, place: Place) -> None:
        """Take where the tables are."""
        self._place = place
        self._opened: list[Database] = []

    def __call__(self, *, pool_size: int = 10) -> Database:
        """Open one more; the fixture closes it."""
        return self.of(Database, pool_size=pool_size)

    def of(self, kind: type[D], *, pool_size: int = 10) -> D:
        """Open one of another kind."""
        database = kind.connect(
            self._place.url, table_name=self._place.table_name, pool_size=pool_size
        )
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
def own_mariadb() -> Iterator[str]:
    """Make a MariaDB database for this run on the first server there is; yield its URL.

    Raises:
        NoMariaDbError: there is no server, and none could be started.
    """
    with _mariadb_server() as server_url:
        name = f"program_executor_test_{uuid.uuid4().hex[:12]}"
        private_mariadb.execute(server_url, f"CREATE DATABASE {name}")
        try:
            url = sa.make_url(server_url).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            private_mariadb.execute(server_url, f"DROP DATABASE {name}")


@contextmanager
def _server() -> Iterator[str]:
    given = _given({"postgres", "postgresql"})
    if given is not None:
        if not answers(given):
            raise NoPostgresError(NO_ANSWER)
        yield given
    elif answers(STANDARD_URL):
        yield STANDARD_URL
    else:
        with private_postgres() as server:
            yield server.url


@contextmanager
def _mariadb_server() -> Iterator[str]:
    given = _given({"mysql", "mariadb"})
    if given is not None:
        if not private_mariadb.answers(given):
            raise NoMariaDbError(NO_ANSWER)
        yield given
    elif private_mariadb.answers(STANDARD_MARIADB_URL):
        yield STANDARD_MARIADB_URL
    else:
        with private_mariadb.private_mariadb() as url:
            yield url


def _given(backends: set[str]) -> str | None:
    """Return the URL that is set, if it names such a database."""
    given = os.environ.get(URL_VARIABLE)
    return given if given and sa.make_url(given).get_backend_name() in backends else None
