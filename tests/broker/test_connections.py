"""Connections: how many a process has, and that nobody waits for a broker that says nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from patience import eventually
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Announcement, Cancelled
from program_service.wakeups.rabbitmq import publishers, readings
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from tcp_proxy import TcpProxy
from wakeups import (
    a_wakeup,
    comes_through,
    count_of,
    listening,
    running,
    subscribed,
    until_confirmed,
    wakeups,
)

QUEUES = ("default", "mail", "bank", "slow")

SILENT_S = 8.0


def has(proxy: TcpProxy, count: int) -> Callable[[], Awaitable[bool]]:
    """Return whether so many connections are open, to be looked at again and again."""

    async def look() -> bool:
        return proxy.connections == count

    return look


async def test_process_has_one_connection_to_publish_and_one_to_consume(
    far: RabbitBroker, proxy: TcpProxy
) -> None:
    """However many queues it has; docs/scaling.md counts with that."""
    heard: list[Announcement] = []
    async with (
        subscribed(far, QUEUES, prefetch=5) as subscription,
        listening(far, heard.append),
    ):
        for queue in QUEUES:
            await comes_through(far, subscription, a_wakeup(queue, queue=queue))

        async def is_heard() -> bool:
            await far.announce(Cancelled("p-1"))
            return bool(heard)

        await eventually(is_heard)
        await eventually(has(proxy, 2))
        reading = await far.read(QUEUES)
        assert reading.depths.keys() == set(QUEUES)
        assert reading.trouble is None
        await eventually(has(proxy, 2))
    await far.close()
    await eventually(has(proxy, 0))


async def test_service_has_one_connection(far: RabbitBroker, proxy: TcpProxy) -> None:
    for queue in QUEUES:
        await until_confirmed(far, a_wakeup(queue=queue))
    await far.announce(Cancelled("p-1"))
    await far.read(QUEUES)
    await eventually(has(proxy, 1))


async def test_announcing_does_not_wait_for_the_broker(far: RabbitBroker, proxy: TcpProxy) -> None:
    """It is put into the outbox without a single turn of the event loop."""
    await until_confirmed(far, a_wakeup())
    proxy.hold()
    announcing = [far.announce(Cancelled(f"p-{number}")) for number in range(2_000)]
    for each in announcing:
        with pytest.raises(StopIteration):
            each.send(None)
    proxy.heal()


async def test_reading_pauses_no_publishing(
    far: RabbitBroker, proxy: TcpProxy, console: object, metrics: Metrics
) -> None:
    """Also one that fails: it is taken over a connection of its own."""
    del console
    await until_confirmed(far, a_wakeup())
    proxy.stall_after(b"program-executor readings")
    assert await far.depth("default") is None
    proxy.heal()
    assert count_of(metrics, "broker_reconnects") == 0


async def test_queues_beyond_the_channels_of_a_connection_share_them(
    far: RabbitBroker, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "MAX_CHANNELS", 2)
    monkeypatch.setattr(readings, "CHANNELS", 2)
    sent = [a_wakeup(queue, queue=queue) for queue in QUEUES]
    for _ in range(3):
        assert await far.publish(sent) == [True] * len(QUEUES)
        assert len(far._publishers._of_queue) <= 2
    assert (await far.read(QUEUES)).depths == dict.fromkeys(QUEUES, 3)
    assert proxy.accepted == 2


@pytest.mark.long  # a broker is silent for so long
async def test_no_loop_ends_while_the_broker_is_silent_and_submits_go_on(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    """The driver rejects what waits with a cancellation that nobody sent, which ended loops."""
    for queue in ("default", "mail"):
        await rabbit.publish(wakeups(50, queue=queue))
    async with (
        subscribed(far, ["default", "mail"], prefetch=2) as subscription,
        listening(far, lambda _announcement: None),
        running(*(Busy(far, queue) for queue in ("default", "mail"))),
    ):
        for _ in range(2):
            await asyncio.sleep(2)
            proxy.hold()
            await asyncio.sleep(SILENT_S)
            proxy.heal()
        await comes_through(rabbit, subscription, a_wakeup("after"))
        await comes_through(rabbit, subscription, a_wakeup("after", queue="mail"))


class Busy:
    """A loop that publishes and asks, as a relay and a sweeper do."""

    def __init__(self, broker: RabbitBroker, queue: str) -> None:
        """Publish to this queue."""
        self.name = queue
        self._broker = broker

    async def run(self) -> None:
        """Publish and ask, again and again."""
        while True:
            publishing = self._broker.publish(wakeups(3, queue=self.name))
            await asyncio.gather(publishing, self._broker.depth(self.name))
            await asyncio.sleep(0.05)


@pytest.mark.long  # a network forgets its connections for so long
@pytest.mark.timeout(180)
async def test_paused_subscription_whose_network_forgot_its_connection_receives_again(
    far: RabbitBroker, rabbit: RabbitBroker, proxy: TcpProxy
) -> None:
    """A full worker; the driver's heartbeat gives the connection up after 33 s."""
    async with subscribed(far, ["default", "mail"], prefetch=2) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        await subscription.pause()
        proxy.stall()
        await asyncio.sleep(32)
        proxy.heal()
        await asyncio.sleep(5)
        subscription.resume()
        for queue in ("default", "mail"):
            await comes_through(rabbit, subscription, a_wakeup("after", queue=queue))
