"""Network: connections that are cut, refused, or open for one side only."""

import pytest

from brokers import Console
from patience import eventually
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Announcement, Cancelled
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from tcp_proxy import TcpProxy
from wakeups import (
    a_wakeup,
    arrived,
    comes_through,
    count_of,
    listening,
    subscribed,
    taken,
    until_confirmed,
    until_deep,
)

pytestmark = pytest.mark.long  # brokers that go and come take minutes


async def test_half_open_connection_of_a_consumer_is_noticed_and_replaced(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy, metrics: Metrics
) -> None:
    """The broker, or a firewall, forgot us: nothing arrives, and nothing fails."""
    async with subscribed(far, ["default"], prefetch=5) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        proxy.stall()
        await until_confirmed(rabbit, a_wakeup("meanwhile"))
        proxy.heal()
        while (await arrived(subscription, within_s=90)).wakeup != a_wakeup("meanwhile"):
            pass  # the acknowledgement of the first was swallowed: it comes again
    assert count_of(metrics, "broker_reconnects") >= 1


async def test_half_open_connection_of_a_publisher_is_noticed_and_replaced(
    far: RabbitBroker, console: Console, proxy: TcpProxy
) -> None:
    await until_confirmed(far, a_wakeup("before"))
    proxy.stall()
    assert await far.publish([a_wakeup("meanwhile")]) == [False]
    assert await far.depth("default") is None
    proxy.heal()
    await until_confirmed(far, a_wakeup("after"), within_s=90)
    await until_deep(console, "default", 2)


async def test_half_open_connection_of_a_listener_is_noticed_and_replaced(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    heard: list[Announcement] = []

    async def is_heard() -> bool:
        await rabbit.announce(Cancelled("p-1"))
        return bool(heard)

    async with listening(far, heard.append):
        await eventually(is_heard)
        proxy.stall()
        heard.clear()
        proxy.heal()
        await eventually(is_heard, within_s=90)


async def test_connection_that_stays_half_open_is_tried_again_and_again(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    """Also while it is being opened, a connection may fall silent."""
    proxy.stall()
    async with subscribed(far, ["default"], prefetch=5) as subscription:

        async def was_tried_twice() -> bool:
            return proxy.accepted >= 2

        await eventually(was_tried_twice, within_s=60)
        proxy.heal()
        await comes_through(rabbit, subscription, a_wakeup())


async def test_connections_that_are_cut_are_opened_anew(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    async with subscribed(far, ["default"], prefetch=5) as subscription:
        for number in range(5):
            await comes_through(far, subscription, a_wakeup(f"p-{number}"))
            proxy.cut()
        await comes_through(rabbit, subscription, a_wakeup("after"))


async def test_connections_that_are_refused_are_tried_again(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    async with subscribed(far, ["default"], prefetch=5) as subscription:
        await comes_through(far, subscription, a_wakeup("before"))
        await proxy.refuse()
        assert await far.publish([a_wakeup("meanwhile")]) == [False]
        assert await far.depth("default") is None
        await proxy.start()
        await comes_through(far, subscription, a_wakeup("after"))
        await comes_through(rabbit, subscription, a_wakeup("later"))


async def test_wakeup_whose_acknowledgement_is_lost_comes_again(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    async with subscribed(far, ["default"], prefetch=5) as subscription:
        await until_confirmed(rabbit, a_wakeup())
        held = await arrived(subscription)
        proxy.cut()
        await held.acknowledge()
        assert await taken(subscription, 1, within_s=60) == [held.wakeup]
