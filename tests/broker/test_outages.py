"""Outages: RabbitMQ is stopped, killed, wiped, or refuses; on a node of our own."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from brokers import Console, a_queue_name
from patience import eventually
from private_rabbitmq import PrivateRabbit
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Announcement, Cancelled
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import (
    a_wakeup,
    comes_through,
    count_of,
    listening,
    subscribed,
    taken,
    until_confirmed,
    until_deep,
    wakeups,
)

pytestmark = pytest.mark.long  # brokers that go and come take minutes

GRACE_S = 15.0
"""How long a driver may try before it says that it could not; three of its own time limits."""

SETTLE_S = 2.0
"""RabbitMQ 3.10 notes a new quorum queue in a file within a second; killed before that, it comes
back with a queue that has no leader, for ever: nothing can be published or consumed (tried)."""


@pytest.fixture
def node(private_node: PrivateRabbit) -> Iterator[PrivateRabbit]:
    """Return a running node, which the test may bring down."""
    yield private_node
    private_node.start()


@pytest.fixture
def console(node: PrivateRabbit) -> Console:
    """Look at the queues of this test; nobody else is there to be bothered by what is left."""
    return Console(node.url, a_queue_name())


async def test_driver_says_no_while_the_broker_is_down(
    rabbit: RabbitBroker, node: PrivateRabbit
) -> None:
    """Invariant 2: who submits must not wait for a broker."""
    await until_confirmed(rabbit, a_wakeup())
    node.stop()
    for _ in range(5):
        async with asyncio.timeout(GRACE_S):
            assert await rabbit.publish(wakeups(3)) == [False] * 3
            assert await rabbit.depth("default") is None
            await rabbit.announce(Cancelled("p-1"))


async def test_driver_that_never_saw_the_broker_finds_it_when_it_comes(
    rabbit: RabbitBroker, node: PrivateRabbit, metrics: Metrics
) -> None:
    node.stop()
    async with subscribed(rabbit, ["default"], prefetch=1) as subscription:
        assert await rabbit.publish([a_wakeup()]) == [False]
        await asyncio.to_thread(node.start)
        await comes_through(rabbit, subscription, a_wakeup("first"))
    assert count_of(metrics, "broker_reconnects") == 0


@pytest.mark.parametrize("how", ["restarted", "killed", "killed-and-wiped"])
async def test_driver_publishes_and_consumes_again_after_the_broker_was(
    rabbit: RabbitBroker, node: PrivateRabbit, metrics: Metrics, how: str
) -> None:
    """Invariant 2."""
    async with subscribed(rabbit, ["default", "mail"], prefetch=3) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        await asyncio.sleep(SETTLE_S)
        await asyncio.to_thread(node.stop if how == "restarted" else node.kill)
        if how == "killed-and-wiped":
            node.wipe()
        assert await rabbit.publish([a_wakeup("meanwhile")]) == [False]
        await asyncio.to_thread(node.start)
        await comes_through(rabbit, subscription, a_wakeup("after"))
        await comes_through(rabbit, subscription, a_wakeup("other", queue="mail"))
    assert count_of(metrics, "broker_reconnects") >= 2


async def test_cancellations_are_heard_again_after_the_broker_was_killed(
    rabbit: RabbitBroker, node: PrivateRabbit
) -> None:
    heard: list[Announcement] = []

    async def is_heard() -> bool:
        await rabbit.announce(Cancelled("p-1"))
        return bool(heard)

    async with listening(rabbit, heard.append):
        await eventually(is_heard)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        heard.clear()
        await eventually(is_heard, within_s=90)


async def test_confirmed_wakeups_survive_the_death_of_the_broker(
    rabbit: RabbitBroker, node: PrivateRabbit
) -> None:
    """Durable queues, persistent messages."""
    sent = wakeups(50)
    assert await rabbit.publish(sent) == [True] * 50
    await asyncio.sleep(SETTLE_S)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)
    async with subscribed(rabbit, ["default"], prefetch=10) as subscription:
        assert await taken(subscription, 50, within_s=60) == sent


async def test_wakeup_that_the_broker_refuses_is_not_called_confirmed(
    rabbit: RabbitBroker, console: Console, node: PrivateRabbit
) -> None:
    """A nack: the queue is full and says so; afterwards the channel must not be spoilt."""
    await until_confirmed(rabbit, a_wakeup("first"))
    definition = '{"max-length": 2, "overflow": "reject-publish"}'
    pattern = f"^{console.name('default')}$"
    await asyncio.to_thread(node.control, "set_policy", "full", pattern, definition)
    for number in itertools.count():
        if await rabbit.publish([a_wakeup(f"p-{number}")]) == [False]:
            break
        assert number < 100
    await asyncio.to_thread(node.control, "clear_policy", "full")
    depth = await console.depth("default")
    assert depth is not None
    await until_confirmed(rabbit, a_wakeup("last"))
    await until_deep(console, "default", depth + 1)


async def test_wakeup_that_was_delivered_too_often_is_dead_lettered(
    rabbit: RabbitBroker, console: Console
) -> None:
    """The delivery limit: a wake-up that takes down whoever receives it ends some time."""
    await until_confirmed(rabbit, a_wakeup())
    for _ in range(100):
        if not await console.return_one("default"):
            break
    await until_deep(console, "dead-letters", 1)
    assert await console.depth("default") == 0


async def test_queues_are_quorum_queues_with_a_limit_and_dead_letters(
    rabbit: RabbitBroker, console: Console, node: PrivateRabbit
) -> None:
    await until_confirmed(rabbit, a_wakeup())
    columns = ("name", "type", "durable", "auto_delete", "arguments")
    listed = await asyncio.to_thread(node.control, "list_queues", *columns, "--no-table-headers")
    lines = {line.split("\t")[0]: line for line in listed.splitlines()}
    for queue in ("default", "dead-letters"):
        assert "\tquorum\ttrue\tfalse\t" in lines[console.name(queue)]
    arguments = lines[console.name("default")]
    for expected in (
        '{"x-delivery-limit",50}',
        '{"x-dead-letter-exchange",[]}',  # Erlang's empty text: the default exchange
        f'{{"x-dead-letter-routing-key","{console.name("dead-letters")}"}}',
    ):
        assert expected in arguments
    # what nobody reads must not fill the disk
    assert '{"x-max-length",10000}' in lines[console.name("dead-letters")]
