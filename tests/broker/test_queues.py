"""Queues: what RabbitMQ's own do to us, and what people do to them."""

import asyncio
import itertools

import pytest

from brokers import Console
from patience import eventually
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import (
    a_wakeup,
    arrived,
    comes_through,
    count_of,
    subscribed,
    taken,
    until_confirmed,
    until_deep,
    wakeups,
)

pytestmark = pytest.mark.long  # brokers that go and come take minutes

AT = b'"published_at": "2026-05-04T12:00:00+00:00"'
UNPARSABLE = {
    "empty": b"",
    "text": b"no json",
    "bytes": b"\xff\xfe\x00",
    "list": b"[]",
    "null": b"null",
    "string": b'"p-1"',
    "nothing-in-it": b"{}",
    "nobody": b'{"run_ids": [], %s, "hops": 0}' % AT,
    "number": b'{"run_ids": [1], %s, "hops": 0}' % AT,
    "ids-in-a-string": b'{"run_ids": "p-1", %s, "hops": 0}' % AT,
    "ids-in-an-object": b'{"run_ids": {"p-1": 1}, %s, "hops": 0}' % AT,
    "id-with-nul": b'{"run_ids": ["p\\u0000"], %s, "hops": 0}' % AT,
    "no-time": b'{"run_ids": ["p-1"], "published_at": "at noon", "hops": 0}',
    "no-zone": b'{"run_ids": ["p-1"], "published_at": "2026-05-04T12:00:00", "hops": 0}',
    "timestamp": b'{"run_ids": ["p-1"], "published_at": 1777896000, "hops": 0}',
    "no-hops": b'{"run_ids": ["p-1"], %s, "hops": null}' % AT,
    "endless-hops": b'{"run_ids": ["p-1"], %s, "hops": 1e999}' % AT,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", UNPARSABLE.values(), ids=UNPARSABLE.keys())
async def test_message_that_is_no_wakeup_is_dead_lettered_counted_and_blocks_nothing(
    rabbit: RabbitBroker, console: Console, metrics: Metrics, body: bytes
) -> None:
    await until_confirmed(rabbit, a_wakeup("before"))
    await console.send("default", body)
    await rabbit.publish([a_wakeup("after")])
    async with subscribed(rabbit, ["default"], prefetch=1) as subscription:
        came = [wakeup.run_ids for wakeup in await taken(subscription, 2)]
        assert came == [("before",), ("after",)]
        await until_deep(console, "dead-letters", 1)
    assert count_of(metrics, "wakeups_received", result="unparsable") == 1
    assert await console.get("dead-letters") == body


async def test_no_more_wakeups_are_held_than_the_prefetch(
    rabbit: RabbitBroker, console: Console
) -> None:
    await rabbit.publish(wakeups(10))
    async with subscribed(rabbit, ["default"], prefetch=2) as subscription:
        await until_deep(console, "default", 8)
        first = await arrived(subscription)
        for _ in range(20):
            assert await console.depth("default") == 8
        await first.acknowledge()
        await until_deep(console, "default", 7)


async def test_unacknowledged_wakeups_return_to_the_queue_with_their_subscription(
    rabbit: RabbitBroker, console: Console
) -> None:
    sent = wakeups(5)
    await rabbit.publish(sent)
    async with subscribed(rabbit, ["default"], prefetch=5) as subscription:
        await arrived(subscription)
        await until_deep(console, "default", 0)
    await until_deep(console, "default", 5)
    async with subscribed(rabbit, ["default"], prefetch=5) as subscription:
        came = await taken(subscription, 5)
    assert sorted(wakeup.run_ids for wakeup in came) == [wakeup.run_ids for wakeup in sent]


@pytest.mark.parametrize("prefetch", [1, 3])
async def test_paused_subscription_holds_nothing_back(
    rabbit: RabbitBroker, console: Console, prefetch: int
) -> None:
    """What arrived while it was told to pause would wait for as long as the worker is full."""
    await rabbit.publish(wakeups(6))
    async with subscribed(rabbit, ["default"], prefetch=prefetch) as subscription:
        for number in range(30):
            for _ in range(number):  # pause at another moment each time
                await asyncio.sleep(0)
            for delivery in await subscription.pause():
                await rabbit.publish([delivery.wakeup])
                await delivery.acknowledge()
            await until_deep(console, "default", 6)
            subscription.resume()


async def test_deleted_queue_is_made_again_and_consumed_from(
    rabbit: RabbitBroker, console: Console, metrics: Metrics
) -> None:
    """Invariant 2; the broker cancels the consumer, which aiormq then forgets in silence."""
    async with subscribed(rabbit, ["default", "mail"], prefetch=5) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        await console.delete("default")
        await comes_through(rabbit, subscription, a_wakeup("after"))
        await comes_through(rabbit, subscription, a_wakeup("other", queue="mail"))
    assert count_of(metrics, "consumer_cancelled") >= 1


async def test_queue_deleted_again_and_again_is_consumed_from_in_the_end(
    rabbit: RabbitBroker, console: Console
) -> None:
    """Invariant 2."""

    async def is_consumed_from() -> bool:
        return await console.consumers("default") == 1

    async with subscribed(rabbit, ["default"], prefetch=5) as subscription:
        for _ in range(5):
            # a delete that meets the declare breaks the queue in RabbitMQ 3.10 itself (tried): it
            # answers INTERNAL_ERROR to every later declare, until the broker is restarted
            await eventually(is_consumed_from)
            await console.delete("default")
        await comes_through(rabbit, subscription, a_wakeup("after"))


async def test_queue_deleted_while_wakeups_are_sent_is_consumed_from_after(
    rabbit: RabbitBroker, console: Console
) -> None:
    """Invariant 2: a publisher makes the queue anew before its consumers hear of the end.

    RabbitMQ 3.10 then moves a consumer to the new queue by itself, without a word, and delivers
    nothing to it: it counts a consumer, holds as many wake-ups as its prefetch, and all looks well.
    """

    async def send() -> None:
        while True:
            await rabbit.publish([a_wakeup("meanwhile")])
            await asyncio.sleep(0.005)

    async with subscribed(rabbit, ["default"], prefetch=5) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        sending = asyncio.create_task(send())
        await console.delete("default")
        await asyncio.sleep(1)
        sending.cancel()
        await comes_through(rabbit, subscription, a_wakeup("after"))


async def test_queue_deleted_while_nothing_is_received_is_consumed_from_after(
    rabbit: RabbitBroker, console: Console
) -> None:
    async with subscribed(rabbit, ["default"], prefetch=5) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        await subscription.pause()
        await console.delete("default")
        subscription.resume()
        await comes_through(rabbit, subscription, a_wakeup("after"))


async def test_purged_queue_is_consumed_from_as_before(
    rabbit: RabbitBroker, console: Console
) -> None:
    """Invariant 2."""
    async with subscribed(rabbit, ["default"], prefetch=1) as subscription:
        await rabbit.publish(wakeups(5))
        held = await arrived(subscription)
        await console.purge("default")
        await held.acknowledge()
        await comes_through(rabbit, subscription, a_wakeup("after"))


async def test_wakeup_for_a_deleted_queue_is_not_called_confirmed(
    rabbit: RabbitBroker, console: Console
) -> None:
    """Rule R5: what was routed to nobody must not be marked as woken."""
    await until_confirmed(rabbit, a_wakeup("before"))
    await console.delete("default")
    for number in itertools.count():
        (is_sure,) = await rabbit.publish([a_wakeup(f"p-{number}")])
        if is_sure:
            break
        assert not await console.depth("default")
        await asyncio.sleep(0.1)
    await until_deep(console, "default", 1)


async def test_queues_bear_the_name_of_the_deployment(
    rabbit: RabbitBroker, console: Console
) -> None:
    """Rule R15: `<QUEUE_NAME>.<queue>`; the ancestor's own queue is left alone."""
    await until_confirmed(rabbit, a_wakeup(queue="bank"))
    for name in ("bank", "dead-letters"):
        assert await console.depth(name) is not None
    await until_deep(console, "bank", 1)
