"""What the tests of the brokers share: both drivers, and a RabbitMQ."""

from collections.abc import AsyncIterator, Iterator

import pytest
from yarl import URL

from brokers import Console, a_console, some_rabbitmq
from patience import in_own_task
from private_rabbitmq import NoRabbitError, PrivateRabbit, private_rabbitmq
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Broker
from program_service.wakeups.memory import MemoryBroker
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from skips import or_skip
from tcp_proxy import TcpProxy, proxied
from wakeups import a_driver


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
    async with in_own_task(a_driver(console.url, console.queue_name, metrics)) as broker:
        yield broker


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[TcpProxy]:
    """Stand between a driver and its broker."""
    url = URL(rabbitmq_url)
    async with proxied(url.host or "127.0.0.1", url.port or 5672) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: TcpProxy, console: Console, metrics: Metrics) -> AsyncIterator[RabbitBroker]:
    """Return a driver that reaches its broker by the proxy; `rabbit` reaches it directly."""
    url = str(URL(console.url).with_host("127.0.0.1").with_port(proxy.port))
    async with in_own_task(a_driver(url, console.queue_name, metrics)) as broker:
        yield broker


@pytest.fixture(params=["memory", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return each driver in turn."""
    if request.param == "memory":
        return MemoryBroker()
    driver: Broker = request.getfixturevalue("rabbit")
    return driver
