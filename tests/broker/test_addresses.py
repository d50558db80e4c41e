"""Addresses: of several nodes, whichever answers is used."""

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from brokers import Console
from patience import in_own_task
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from tcp_proxy import TcpProxy, proxied
from wakeups import a_driver, a_wakeup, comes_through, subscribed, until_confirmed

pytestmark = pytest.mark.long  # a node that does not answer costs seconds


@pytest.fixture
async def nodes(rabbitmq_url: str) -> AsyncIterator[list[TcpProxy]]:
    """Make one broker look like two nodes."""
    url = URL(rabbitmq_url)
    host, port = url.host or "127.0.0.1", url.port or 5672
    async with proxied(host, port) as first, proxied(host, port) as second:
        yield [first, second]


@pytest.fixture
async def far(
    nodes: list[TcpProxy], console: Console, metrics: Metrics
) -> AsyncIterator[RabbitBroker]:
    """Return a driver that knows both nodes."""
    urls = [URL(console.url).with_host("127.0.0.1").with_port(node.port) for node in nodes]
    async with in_own_task(
        a_driver(",".join(map(str, urls)), console.queue_name, metrics)
    ) as broker:
        yield broker


@pytest.mark.parametrize("gone", [0, 1])
async def test_node_that_refuses_is_passed_over(
    far: RabbitBroker, nodes: list[TcpProxy], gone: int
) -> None:
    """In the same attempt: the first publish is confirmed."""
    await nodes[gone].refuse()
    assert await far.publish([a_wakeup()]) == [True]
    assert nodes[1 - gone].accepted == 1


@pytest.mark.parametrize("gone", [0, 1])
async def test_node_that_does_not_answer_is_passed_over(
    far: RabbitBroker, nodes: list[TcpProxy], gone: int
) -> None:
    nodes[gone].stall()
    await until_confirmed(far, a_wakeup())
    assert nodes[gone].accepted <= 1
    assert nodes[1 - gone].accepted == 1


async def test_users_of_a_node_that_dies_go_on_with_another(
    far: RabbitBroker, nodes: list[TcpProxy]
) -> None:
    async with subscribed(far, ["default"], prefetch=5) as subscription:
        for number, node in enumerate(nodes * 2):
            await comes_through(far, subscription, a_wakeup(f"p-{number}"))
            await node.refuse()
            await comes_through(far, subscription, a_wakeup(f"q-{number}"))
            await node.start()
