"""The contract holds on every kind of database."""

from pathlib import Path

import pytest

from servers import Place, place_of


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where this test's tables are, for each kind of database."""
    return place_of(request, tmp_path)
