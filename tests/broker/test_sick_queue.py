"""A sick queue: it is there, and answers nothing; a node that dies while it is made leaves such."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from brokers import a_queue_name
from patience import eventually
from private_rabbitmq import PrivateRabbit
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq import sickness
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import a_wakeup

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


@pytest.fixture
async def healthy(private_node: PrivateRabbit, metrics: Metrics) -> AsyncIterator[RabbitBroker]:
    """Return a driver whose queues are there."""
    broker = RabbitBroker(private_node.url, queue_name=a_queue_name(), metrics=metrics)
    wakeups = [a_wakeup(queue="default"), a_wakeup(queue="bank")]
    assert await broker.publish(wakeups) == [True, True]
    yield broker
    await broker.close()


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

    private_node.control(
        "eval", f"ra:force_delete_server(quorum_queues, {{'%2F_{name}', node()}})."
    )
    assert not await is_confirmed()
    await eventually(is_confirmed)
    async with healthy.subscribe(["bank"], prefetch=1) as subscription:
        await (await subscription.next()).acknowledge()
    await asyncio.sleep(SETTLED_S)
    private_node.kill()
    private_node.start()
    await eventually(is_confirmed)
    async with healthy.subscribe(["bank"], prefetch=1) as subscription:
        await (await subscription.next()).acknowledge()
