"""What the tests of the brokers share: both drivers, and a RabbitMQ."""

from collections.abc import AsyncIterator, Iterator

import pytest

from brokers import Console, a_console, some_rabbitmq
from private_rabbitmq import NoRabbitError, PrivateRabbit, private_rabbitmq
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Broker
from program_service.wakeups.memory import MemoryBroker
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from skips import or_skip


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """Return the URL of a RabbitMQ that may be shared with others."""
    with or_skip("RabbitMQ", some_rabbitmq(), NoRabbitError) as url:
        yield url


@pytest.fixture(scope="session")
def private_node() -> Iterator[PrivateRabbit]:
    """Start a RabbitMQ that nobody else uses."""
    with or_skip("RabbitMQ", private_rabbitmq(), NoRabbitError) as node:
        yield node


@pytest.fixture
async def console(rabbitmq_url: str) -> AsyncIterator[Console]:
    """Look at the queues of this test."""
    async with a_console(rabbitmq_url) as console:
        yield console


@pytest.fixture
def metrics() -> Metrics:
    """Return the metrics of the driver."""
    return Metrics()


@pytest.fixture
async def rabbit(console: Console, metrics: Metrics) -> AsyncIterator[RabbitBroker]:
    """Return the driver for RabbitMQ, in queues of this test's own."""
    broker = RabbitBroker(console.url, queue_name=console.queue_name, metrics=metrics)
    yield broker
    await broker.close()


@pytest.fixture(params=["memory", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return each driver in turn."""
    if request.param == "memory":
        return MemoryBroker()
    driver: Broker = request.getfixturevalue("rabbit")
    return driver
