"""What the tests of the command line share: a real service on a socket, and a shell."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builders import JOBS
from commanding import Shell
from program_service.bookkeeping.database import Database
from servers import Place, place_of
from serving import Service, on_a_socket, serving


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Keep the programs in a file: databases are no concern of these tests."""
    return place_of(request, tmp_path)


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve without keys; no worker runs."""
    async with serving(database, jobs=JOBS) as served:
        yield served


@pytest.fixture
async def url(service: Service) -> AsyncIterator[str]:
    """Return where the service is."""
    async with on_a_socket(service) as address:
        yield address


@pytest.fixture
def bare_shell(tmp_path: Path) -> Shell:
    """Return a shell that knows no service."""
    folder = tmp_path / "home"
    folder.mkdir()
    return Shell(folder)


@pytest.fixture
def shell(bare_shell: Shell, url: str) -> Shell:
    """Return a shell that knows where the service is."""
    return bare_shell.exporting(url=url)
