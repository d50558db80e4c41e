"""Wake-ups as tests make, take and count them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from brokers import Console
from patience import PATIENCE_S, eventually
from program_service.loops.supervisor import Loop
from program_service.telemetry import Metrics
from program_service.wakeups.broker import (
    Announcement,
    Broker,
    Delivery,
    Subscription,
    Wakeup,
)
from program_service.wakeups.rabbitmq.broker import RabbitBroker

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def a_wakeup(*run_ids: str, queue: str = "default", hops: int = 0) -> Wakeup:
    """Make a wake-up, published at noon."""
    return Wakeup(queue, run_ids or ("p-1",), NOON, hops)


def wakeups(count: int, *, queue: str = "default", first: int = 1) -> list[Wakeup]:
    """Make so many, of one program each."""
    return [a_wakeup(f"p-{number}", queue=queue) for number in range(first, first + count)]


@asynccontextmanager
async def running(*loops: Loop) -> AsyncGenerator[None]:
    """Run loops meanwhile; one that ends by itself, or is cancelled by somebody else, fails."""
    async with asyncio.TaskGroup() as tasks:
        tasks_of_loops = [tasks.create_task(loop.run()) for loop in loops]
        try:
            yield
        finally:
            ended = [loop for loop, task in zip(loops, tasks_of_loops, strict=True) if task.done()]
            for task in tasks_of_loops:
                task.cancel()
    assert not ended


@asynccontextmanager
async def subscribed(
    broker: Broker, queues: Sequence[str], *, prefetch: int
) -> AsyncGenerator[Subscription]:
    """Receive the wake-ups of these queues meanwhile."""
    subscription = broker.subscribe(queues, prefetch=prefetch)
    async with running(*subscription.loops):
        yield subscription


@asynccontextmanager
async def listening(broker: Broker, hear: Callable[[Announcement], None]) -> AsyncGenerator[None]:
    """Listen to announcements meanwhile."""
    async with running(broker.listener(hear)):
        yield


@asynccontextmanager
async def a_driver(url: str, queue_name: str, metrics: Metrics) -> AsyncGenerator[RabbitBroker]:
    """Run a driver for RabbitMQ."""
    broker = RabbitBroker(url, queue_name=queue_name, metrics=metrics)
    async with running(*broker.loops):
        yield broker
    await broker.close()


async def arrived(subscription: Subscription, *, within_s: float = PATIENCE_S) -> Delivery:
    """Wait for the next wake-up."""
    async with asyncio.timeout(within_s):
        return await subscription.next()


async def taken(
    subscription: Subscription, count: int, *, within_s: float = PATIENCE_S
) -> list[Wakeup]:
    """Take and acknowledge so many."""
    deliveries = []
    for _ in range(count):
        delivery = await arrived(subscription, within_s=within_s)
        await delivery.acknowledge()
        deliveries.append(delivery.wakeup)
    return deliveries


async def until_confirmed(
    broker: Broker, wakeup: Wakeup, *, within_s: float = PATIENCE_S
) -> Wakeup:
    """Publish again and again until it is confirmed: what a broker refused, a later turn sends."""

    async def publish() -> bool:
        return (await broker.publish([wakeup])) == [True]

    await eventually(publish, within_s=within_s)
    return wakeup


async def comes_through(broker: Broker, subscription: Subscription, wakeup: Wakeup) -> None:
    """Publish until it is confirmed, and again until it arrives: a wake-up may be lost."""

    async def goes_and_comes() -> bool:
        await until_confirmed(broker, wakeup)
        try:
            while True:
                (came,) = await taken(subscription, 1, within_s=2)
                if came == wakeup:
                    return True
        except TimeoutError:
            return False

    await eventually(goes_and_comes, within_s=90)


async def until_deep(broker: Broker | Console, queue: str, depth: int) -> None:
    """Wait until so many wake-ups wait in a queue."""

    async def is_so() -> bool:
        return await broker.depth(queue) == depth

    await eventually(is_so)


def count_of(metrics: Metrics, name: str, **labels: str) -> float:
    """Return a counter's value; 0 when it was never counted."""
    return metrics.registry.get_sample_value(f"program_executor_{name}_total", labels) or 0.0
