"""What the chaos shares: servers that nobody else uses, and a deployment on them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from brokers import Console, a_queue_name
from deployments import deployed, node_or_skip
from private_postgres import NoPostgresError, PrivatePostgres, private_postgres
from private_rabbitmq import PrivateRabbit
from processes import Deployment
from skips import or_skip

HERE = Path(__file__).parent

QUICK = {"test_crash_points.py", "test_storm.py"}
"""Those that are part of `make test`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of the chaos to `make test-all`: it needs the machine for itself."""
    for item in items:
        if HERE in item.path.parents and item.path.name not in QUICK:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """Start a PostgreSQL that nobody else uses."""
    with or_skip("PostgreSQL", private_postgres(), NoPostgresError) as server:
        yield server


@pytest.fixture(scope="session")
def shared_node() -> Iterator[PrivateRabbit]:
    """Start a RabbitMQ that nobody else uses."""
    with node_or_skip() as node:
        yield node


@pytest.fixture
def node(shared_node: PrivateRabbit) -> Iterator[PrivateRabbit]:
    """Return a running node, which the test may bring down."""
    yield shared_node
    shared_node.start()


@pytest.fixture
def console(node: PrivateRabbit) -> Console:
    """Look at the queues of this test."""
    return Console(node.url, a_queue_name())


@pytest.fixture
async def deployment(
    postgres: PrivatePostgres, console: Console, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Return tables and queues of this test's own; no process runs yet."""
    async with deployed(tmp_path, postgres.url, console) as ready:
        yield ready
