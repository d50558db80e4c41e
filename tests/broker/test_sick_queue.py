"""A sick queue: it is there, and answers nothing; a node that dies while it is made leaves such."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from brokers import a_queue_name
from patience import eventually, in_own_task
from private_rabbitmq import PrivateRabbit
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq import consumer, route, sickness
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import a_driver, a_wakeup, comes_through, subscribed

pytestmark = pytest.mark.long  # each time-out takes seconds

SETTLED_S = 3.0
"""RabbitMQ 3.10 writes down where a queue's files are about a second after it was made."""


@contextmanager
def sick(node: PrivateRabbit, name: str) -> Iterator[None]:
    """Have the process behind a queue stand still."""
    node.control("eval", f"sys:suspend('%2F_{name}').")
    try:
        yield
    finally:
        node.control("eval", f"sys:resume('%2F_{name}').")


def make_sick(node: PrivateRabbit, name: str) -> None:
    """Take away the process behind a queue, so that it is there by name only."""
    node.control("eval", f"ra:force_delete_server(quorum_queues, {{'%2F_{name}', node()}}).")


@pytest.fixture
async def healthy(private_node: PrivateRabbit, metrics: Metrics) -> AsyncIterator[RabbitBroker]:
    """Return a driver whose queues are there."""
    wakeups = [a_wakeup(queue="default"), a_wakeup(queue="bank")]
    async with in_own_task(a_driver(private_node.url, a_queue_name(), metrics)) as broker:
        assert await broker.publish(wakeups) == [True, True]
        yield broker


async def test_sick_queue_costs_the_wakeups_of_no_other(
    healthy: RabbitBroker, private_node: PrivateRabbit, metrics: Metrics
) -> None:
    """Rule R5, invariant 1: queue by queue, or nobody is woken until somebody mends the broker."""
    name = healthy._topology.queue("bank")
    other = RabbitBroker(private_node.url, queue_name=name.removesuffix(".bank"), metrics=metrics)
    with sick(private_node, name):
        answers = await other.publish([a_wakeup(queue="bank"), a_wakeup(queue="default")])
    await other.close()
    assert answers == [False, True]


async def test_queue_that_is_there_by_name_only_is_made_anew_for_good(
    healthy: RabbitBroker, private_node: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 2: it takes no message, closes the connections of its consumers, and stays so."""
    monkeypatch.setattr(sickness, "SICK_AFTER_S", 1.0)
    name = healthy._topology.queue("bank")

    async def is_confirmed() -> bool:
        return await healthy.publish([a_wakeup(queue="bank")]) == [True]

    make_sick(private_node, name)
    assert not await is_confirmed()
    await eventually(is_confirmed)
    async with subscribed(healthy, ["bank"], prefetch=1) as subscription:
        await (await subscription.next()).acknowledge()
    await asyncio.sleep(SETTLED_S)
    private_node.kill()
    private_node.start()
    await eventually(is_confirmed)
    async with subscribed(healthy, ["bank"], prefetch=1) as subscription:
        await (await subscription.next()).acknowledge()


async def test_sick_queue_is_consumed_over_a_connection_of_its_own_until_it_is_well(
    healthy: RabbitBroker,
    private_node: PrivateRabbit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It closes the connection of whoever consumes it: of all queues, if they shared it."""
    monkeypatch.setattr(route, "WELL_AFTER_S", 0.5)
    monkeypatch.setattr(consumer, "WATCH_EVERY_S", 0.5)
    name = healthy._topology.queue("bank")
    make_sick(private_node, name)

    async def connections() -> dict[str, str]:
        """Return {what a connection consumes: its process}."""
        command = ("list_connections", "pid", "client_properties", "--no-table-headers")
        said = await asyncio.to_thread(private_node.control, *command)
        found = re.findall(r'(<\S+>).*"program-executor (consume[^"]*)"', said)
        return {name: pid for pid, name in found}

    async def is_shared_by_all() -> bool:
        return (await connections()).keys() == {"consumer"}

    async with subscribed(healthy, ["bank", "default"], prefetch=1) as subscription:
        await comes_through(healthy, subscription, a_wakeup())
        await asyncio.sleep(2)  # innocent ones return
        shared = (await connections())["consumer"]
        for _ in range(3):
            await asyncio.sleep(1)
            await comes_through(healthy, subscription, a_wakeup())
        assert (await connections())["consumer"] == shared
        monkeypatch.setattr(sickness, "SICK_AFTER_S", 0.5)
        await comes_through(healthy, subscription, a_wakeup(queue="bank"))
        await eventually(is_shared_by_all)
        await comes_through(healthy, subscription, a_wakeup(queue="bank"))
        await comes_through(healthy, subscription, a_wakeup())
