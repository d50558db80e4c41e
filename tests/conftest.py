"""What every test may ask for: a migrated database of each kind, and the URL of a PostgreSQL."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from private_mariadb import NoMariaDbError
from private_postgres import NoPostgresError
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.migrations import migrate
from servers import Connect, Place, own_database, own_mariadb, place_of
from skips import or_skip
from skips import pytest_sessionfinish as pytest_sessionfinish
from skips import pytest_terminal_summary as pytest_terminal_summary

hypothesis.settings.register_profile("tests", deadline=None)  # no test is timed
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start, also where a shell runs them in the background.

    There it is ignored, and whoever is started inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL database of the run's own, for whole processes."""
    with or_skip("PostgreSQL", own_database(), NoPostgresError) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_url: str) -> Place:
    """Migrate once: each test empties the tables, which is ten times faster."""
    place = Place(postgresql_url, "contract")
    asyncio.run(_migrated(place))
    return place


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one SQLite file, which each test copies."""
    file = tmp_path_factory.mktemp("migrated") / "programs.db"
    asyncio.run(_migrated(Place(f"sqlite:///{file}", "programs")))
    return file


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """Return the URL of a MariaDB database of the run's own, for whole processes."""
    with or_skip("MariaDB", own_mariadb(), NoMariaDbError) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_mariadb(mariadb_url: str) -> Place:
    """Migrate once, too."""
    place = Place(mariadb_url, "contract")
    asyncio.run(_migrated(place))
    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where this test's tables are, for the two kinds of database that most tests run on."""
    return place_of(request, tmp_path)


@pytest.fixture
async def connect(place: Place) -> AsyncIterator[Connect]:
    """Empty the tables, and return what connects to them."""
    connect = Connect(place)
    await _empty(connect())
    yield connect
    await connect.close()


@pytest.fixture
async def database(connect: Connect) -> Database:
    """Return a migrated, empty database, once of each kind."""
    return connect()


async def _migrated(place: Place) -> None:
    database = Database.connect(place.url, table_name=place.table_name)
    try:
        await migrate(database)
    finally:
        await database.close()


async def _empty(database: Database) -> None:
    async with database.engine.begin() as connection:
        for table in database.tables.metadata.tables.values():
            await connection.execute(sa.delete(table))
