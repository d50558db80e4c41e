"""The contract holds on every kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from explaining import QUIET_ROWS, ROWS, Explained, filled
from servers import Place, place_of


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where this test's tables are, for each kind of database."""
    return place_of(request, tmp_path)


@pytest.fixture(scope="session", params=["new", "of_a_quiet_hour"])
def long_table(request: pytest.FixtureRequest, postgresql_url: str) -> Place:
    """Fill a table; its statistics are new, or from when all had ended."""
    is_new = request.param == "new"
    place = Place(postgresql_url, f"statistics_{request.param}")
    return filled(place, analyzed_at=ROWS if is_new else QUIET_ROWS)


@pytest.fixture
async def explained(long_table: Place) -> AsyncIterator[Explained]:
    """Return a database with a long table."""
    explained = Explained(long_table)
    yield explained
    await explained.database.close()
