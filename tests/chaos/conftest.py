"""What the chaos shares: servers that nobody else uses, and a deployment on them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brokers import Console, a_queue_name
from deployments import deployed
from deployments import node as node
from deployments import postgres as postgres
from deployments import shared_node as shared_node
from private_postgres import PrivatePostgres
from private_rabbitmq import PrivateRabbit
from processes import Deployment

HERE = Path(__file__).parent

QUICK = {"test_crash_points.py"}
"""Those that are part of `make test`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of the chaos to `make test-all`: it needs the machine for itself."""
    for item in items:
        if HERE in item.path.parents and item.path.name not in QUICK:
            item.add_marker(pytest.mark.long)


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
