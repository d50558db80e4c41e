"""What the tests of the example endpoints share: the endpoints themselves, as real processes."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from endpoints.playing import PlayedService, played_service
from endpoints.starting import BUILD_WITHIN_S, EXAMPLES, installed, running, tool
from private_postgres import free_port


@pytest.fixture
async def service() -> AsyncIterator[PlayedService]:
    """Serve links."""
    async with played_service() as played:
        yield played


@pytest.fixture(scope="session", params=["python", "node", "go", "php"])
def endpoint_url(request: pytest.FixtureRequest) -> str:
    """Return where the example of a language answers."""
    url = request.getfixturevalue(f"{request.param}_endpoint")
    assert isinstance(url, str)
    return url


@pytest.fixture(scope="session")
def python_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the endpoint in Python."""
    command = [sys.executable, str(EXAMPLES / "endpoints/python/endpoint.py")]
    with running(command, folder=tmp_path_factory.mktemp("python")) as url:
        yield url


@pytest.fixture(scope="session")
def node_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the endpoint in Node."""
    folder = installed("endpoints/node", tmp_path_factory)
    with running([tool("node"), "endpoint.js"], folder=folder) as url:
        yield url


@pytest.fixture(scope="session")
def go_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build and run the endpoint in Go."""
    binary = tmp_path_factory.mktemp("go") / "endpoint"
    build = [tool("go"), "build", "-o", str(binary), "."]
    subprocess.run(build, cwd=EXAMPLES / "endpoints/go", check=True, timeout=BUILD_WITHIN_S)
    with running([str(binary)], folder=binary.parent) as url:
        yield url


@pytest.fixture(scope="session")
def php_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the endpoint in PHP, with its own server."""
    folder, port = tmp_path_factory.mktemp("php"), free_port()
    script = EXAMPLES / "endpoints/php/endpoint.php"
    command = [tool("php"), "-S", f"127.0.0.1:{port}", str(script)]
    with running(command, folder=folder, port=port, STATE=str(folder / "state")) as url:
        yield url


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the server of Node libraries, with its packages."""
    return installed("node-library", tmp_path_factory)


@pytest.fixture(scope="session")
def library_url(library_folder: Path) -> Iterator[str]:
    """Serve the sample library."""
    with running([tool("node"), "serve.js", "./jobs"], folder=library_folder) as url:
        yield url


@pytest.fixture(scope="session")
def late_library_url(library_folder: Path) -> Iterator[str]:
    """Serve the sample library, and accept whatever does not end within a millisecond."""
    command = [tool("node"), "serve.js", "./jobs"]
    with running(command, folder=library_folder, ANSWER_WITHIN="0.001") as url:
        yield url
