"""Deployments: fixtures for tests of whole processes; a test file imports what it uses."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import Console, a_console, some_rabbitmq
from private_postgres import NoPostgresError, PrivatePostgres, private_postgres
from private_rabbitmq import NoRabbitError, PrivateRabbit, private_rabbitmq
from processes import Deployment, Launch, spawn
from skips import or_skip


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[str]:
    """Return the URL of a RabbitMQ that may be shared with others."""
    with or_skip("RabbitMQ", some_rabbitmq(), NoRabbitError) as url:
        yield url


@pytest.fixture
async def console(shared_rabbitmq: str) -> AsyncIterator[Console]:
    """Look at the queues of this test."""
    async with a_console(shared_rabbitmq) as console:
        yield console


@pytest.fixture
async def deployment(
    postgresql_url: str, console: Console, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Return tables and queues of this test's own; no process runs yet."""
    async with deployed(tmp_path, postgresql_url, console) as ready:
        yield ready


@asynccontextmanager
async def deployed(
    folder: Path,
    database_url: str,
    console: Console,
    *,
    launch: Launch = spawn,
    **settings: Any,
) -> AsyncGenerator[Deployment]:
    """Make a deployment, and end all its processes after."""
    deployment = Deployment(
        folder=folder,
        database_url=database_url,
        amqp_url=console.url,
        queue_name=console.queue_name,
        table_name=f"t_{uuid.uuid4().hex[:12]}",
        settings=settings,
        launch=launch,
    )
    deployment.journal.touch()
    try:
        yield deployment
    finally:
        await deployment.close()


@contextmanager
def node_or_skip(**settings: int) -> Iterator[PrivateRabbit]:
    """Start a RabbitMQ that nobody else uses; without one the test is skipped by name."""
    with or_skip("RabbitMQ", private_rabbitmq(**settings), NoRabbitError) as node:
        yield node


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
