"""Faults that look like a sick queue: nothing is deleted for them, and they cost no other queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from brokers import Console, a_queue_name
from patience import eventually, in_own_task
from private_rabbitmq import PrivateRabbit
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq import publisher, sickness
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import a_driver, a_wakeup, comes_through, subscribed, taken, until_confirmed

VAIN_S = 4.0

USER = "narrow"


@pytest.fixture
def node(private_node: PrivateRabbit, monkeypatch: pytest.MonkeyPatch) -> PrivateRabbit:
    """Return a node of our own, and take queues for sick soon."""
    monkeypatch.setattr(sickness, "SICK_AFTER_S", 0.5)
    monkeypatch.setattr(publisher, "REFUSES_FOR_S", 0.2)
    return private_node


@pytest.fixture
def console(node: PrivateRabbit) -> Console:
    """Look at the queues of this test."""
    return Console(node.url, a_queue_name())


@pytest.fixture
def set_memory(node: PrivateRabbit) -> Iterator[Callable[[str], Awaitable[str]]]:
    """Return what sets the share of memory above which the node takes no messages."""

    async def set_watermark(share: str) -> str:
        return await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", share)

    yield set_watermark
    node.control("set_vm_memory_high_watermark", "0.4")


async def publishes_in_vain(rabbit: RabbitBroker, *, queue: str = "default") -> None:
    """Publish for longer than a queue must fail to be examined."""
    clock = asyncio.get_running_loop().time
    until = clock() + VAIN_S
    while clock() < until:
        assert await rabbit.publish([a_wakeup("vain", queue=queue)]) == [False]
        await asyncio.sleep(0.1)


async def test_memory_alarm_is_told_and_deletes_no_queue(
    rabbit: RabbitBroker, set_memory: Callable[[str], Awaitable[str]]
) -> None:
    await until_confirmed(rabbit, a_wakeup("before"))
    await set_memory("0.000001")
    await publishes_in_vain(rabbit)
    reading = await rabbit.read(["default"])
    assert reading.trouble == "blocked: memory alarm"
    assert reading.depths == {"default": 1}
    await set_memory("0.4")
    await until_confirmed(rabbit, a_wakeup("after"))
    assert (await rabbit.read(["default"])).trouble is None
    async with subscribed(rabbit, ["default"], prefetch=1) as subscription:
        assert (await taken(subscription, 1))[0].run_ids == ("before",)


@pytest.mark.long  # it must fail for long enough
async def test_full_queue_is_not_deleted(
    rabbit: RabbitBroker, console: Console, node: PrivateRabbit
) -> None:
    """It refuses messages, as a sick one does; and gives them, as a sick one does not."""
    await until_confirmed(rabbit, a_wakeup("kept"))
    definition = '{"max-length": 1, "overflow": "reject-publish"}'
    pattern = f"^{console.name('default')}$"
    await asyncio.to_thread(node.control, "set_policy", "full", pattern, definition)

    async def is_full() -> bool:
        return await rabbit.publish([a_wakeup("kept")]) == [False]

    await eventually(is_full)
    await publishes_in_vain(rabbit)
    kept = await console.depth("default")

    async def is_told() -> bool:
        return "did not take" in (await rabbit.read([])).queue_troubles.get("default", "")

    await eventually(is_told)
    await asyncio.to_thread(node.control, "clear_policy", "full")
    await until_confirmed(rabbit, a_wakeup("after"))
    assert kept is not None
    assert (await console.depth("default") or 0) > kept
    assert not (await rabbit.read([])).queue_troubles


async def test_queue_of_other_arguments_is_used_as_it_is_and_named_once(
    rabbit: RabbitBroker, console: Console
) -> None:
    await console.make_plain("mail")
    await console.send("mail", b"no wake-up")
    with capture_logs() as lines:
        async with subscribed(rabbit, ["mail"], prefetch=1) as subscription:
            for number in range(3):
                await comes_through(rabbit, subscription, a_wakeup(f"p-{number}", queue="mail"))
    (line,) = [line for line in lines if line["event"] == "queue.differs"]
    assert line["queue"] == console.name("mail")
    assert "inequivalent arg 'x-" in line["error_message"]
    assert "delete it" in line["text"]


async def test_queue_whose_name_is_impossible_fails_alone(
    rabbit: RabbitBroker,
) -> None:
    odd = ("größe", "x" * 255, "\ud83d")
    sent = [*(a_wakeup(queue=queue) for queue in odd), a_wakeup("sent")]
    with capture_logs() as lines:
        async with subscribed(rabbit, [*odd, "default"], prefetch=1) as subscription:
            for _ in range(3):
                assert await rabbit.publish(sent) == [False, False, False, True]
                assert (await taken(subscription, 1))[0].run_ids == ("sent",)
            reading = await rabbit.read([*odd, "default"])
    assert reading.trouble is None
    assert reading.depths.keys() == {"default"}
    assert "letters without accents" in reading.queue_troubles["größe"]
    told = [line["queue"] for line in lines if line["event"] == "queue.unusable"]
    assert sorted(told) == sorted(odd * 2)  # once by the publisher, once by the consumer


@pytest.fixture
async def narrow(
    node: PrivateRabbit, console: Console, metrics: Metrics
) -> AsyncIterator[RabbitBroker]:
    """Return the driver of a user who may use the queue `default`, and only publish to others."""
    ours = f"^{console.queue_name}\\.(default|dead-letters)$"
    node.control("add_user", USER, "secret")
    node.control("set_permissions", USER, ours, f"{ours}|^amq\\.default$", ours)
    url = node.url.replace("guest:guest", f"{USER}:secret")
    async with in_own_task(a_driver(url, console.queue_name, metrics)) as broker:
        yield broker
    node.control("delete_user", USER)


async def test_missing_permission_is_named_and_costs_no_other_queue(
    narrow: RabbitBroker, rabbit: RabbitBroker
) -> None:
    async with subscribed(narrow, ["mail", "default"], prefetch=1) as subscription:
        assert await narrow.publish([a_wakeup(queue="mail")]) == [False]
        await comes_through(narrow, subscription, a_wakeup("sent"))
        assert "permission configure" in (await narrow.read([])).queue_troubles["mail"]
        # somebody who may makes the queue: it is used as it is, as far as permissions go
        await until_confirmed(rabbit, a_wakeup(queue="mail"))
        await until_confirmed(narrow, a_wakeup(queue="mail"))

        async def is_told() -> bool:
            return "permission read" in (await narrow.read([])).queue_troubles.get("mail", "")

        await eventually(is_told)
        await comes_through(narrow, subscription, a_wakeup("after"))


async def test_consumers_leave_the_last_connection_to_publishers(
    rabbit: RabbitBroker, console: Console, node: PrivateRabbit
) -> None:
    """Else nobody could be woken: of programs in a table alone no worker hears."""
    limit = '{"max-connections": 3}'
    await asyncio.to_thread(node.control, "set_vhost_limits", "-p", "/", limit)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, node.control, "clear_vhost_limits", "-p", "/")
        crowd = [
            RabbitBroker(console.url, queue_name=console.queue_name, metrics=Metrics())
            for _ in range(5)
        ]
        for worker in crowd:
            stack.push_async_callback(worker.close)
        subscriptions = [
            await stack.enter_async_context(subscribed(worker, ["default", "mail"], prefetch=1))
            for worker in crowd
        ]
        await asyncio.sleep(2)  # all want one
        await until_confirmed(rabbit, a_wakeup("sent"))
        receiving = [asyncio.create_task(each.next()) for each in subscriptions]
        done, waiting = await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        assert done.pop().result().wakeup.run_ids == ("sent",)
