"""Odd messages: nothing that anybody puts into a message ends a consumer, or its connection."""

import struct
from typing import Any

import aiormq
import pytest
from pamqp.commands import Basic

from brokers import Console
from patience import eventually
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Announcement, Cancelled
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from program_service.wakeups.rabbitmq.messages import write
from wakeups import a_wakeup, comes_through, count_of, listening, subscribed, taken, until_deep


class Raw(Basic.Properties):
    """Properties whose bytes a test chooses."""

    raw: bytes = b""

    def marshal(self) -> bytes:
        """Return these bytes."""
        return self.raw


def raw(flags: int, properties: bytes) -> Raw:
    """Make properties; each flag announces one."""
    made = Raw()
    made.raw = struct.pack(">H", flags) + properties
    return made


def table(fields: bytes) -> bytes:
    return struct.pack(">I", len(fields)) + fields


ODD: dict[str, Any] = {
    "content-type": raw(1 << 15, b"\2\xff\xfe"),
    "header-name": raw(1 << 13, table(b"\1\xfft\1")),
    "time": raw(1 << 6, struct.pack(">Q", 2**63 - 1)),
    "expiration": Basic.Properties(expiration="99999999"),
    "deep": raw(1 << 13, table(b"\1aI\0\0\0\1")),
    "empty-table": raw(1 << 13, table(b"")),
    "many": Basic.Properties(headers={f"x-{number}": "y" * 100 for number in range(500)}),
}


async def send(console: Console, properties: Any, body: bytes) -> None:
    """Publish what no well-behaved client would."""
    async with await aiormq.connect(console.url) as connection:
        channel = await connection.channel()
        await channel.basic_publish(
            body,
            routing_key=console.name("default"),
            properties=properties,
            mandatory=True,
        )


@pytest.mark.parametrize("properties", ODD.values(), ids=ODD.keys())
async def test_odd_properties_cost_nobody_anything(
    rabbit: RabbitBroker, console: Console, metrics: Metrics, properties: Any
) -> None:
    """Else the connection of all queues would end, again and again, 50 times for one message."""
    async with subscribed(rabbit, ["default", "mail"], prefetch=1) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        await send(console, properties, b"no wake-up")
        await send(console, properties, write(a_wakeup("odd")))
        (odd,) = await taken(subscription, 1)
        assert odd.run_ids == ("odd",)
        await comes_through(rabbit, subscription, a_wakeup("after", queue="mail"))
        await until_deep(console, "dead-letters", 1)
    assert count_of(metrics, "wakeups_received", result="unparsable") == 1
    assert count_of(metrics, "broker_reconnects") == 0


async def test_odd_routing_key_costs_nobody_anything(
    rabbit: RabbitBroker, console: Console, metrics: Metrics
) -> None:
    """Somebody bound our queue to an exchange of theirs."""
    theirs = console.name("theirs")
    async with subscribed(rabbit, ["default"], prefetch=1) as subscription:
        await comes_through(rabbit, subscription, a_wakeup("before"))
        async with await aiormq.connect(console.url) as connection:
            channel = await connection.channel()
            await channel.exchange_declare(theirs, exchange_type="fanout", auto_delete=True)
            await channel.queue_bind(console.name("default"), theirs)
            publish = Basic.Publish(exchange=theirs, routing_key="KEY")
            marshal = publish.marshal().replace(b"KEY", b"\xff\xfe\xfd")
            await _publish_raw(channel, marshal, write(a_wakeup("odd")))
            assert (await taken(subscription, 1))[0].run_ids == ("odd",)
            await channel.exchange_delete(theirs)
        await comes_through(rabbit, subscription, a_wakeup("after"))
    assert count_of(metrics, "broker_reconnects") == 0


async def _publish_raw(channel: Any, method: bytes, body: bytes) -> None:
    """Write the frames of a message by hand."""
    number = channel.number

    def frame(kind: int, payload: bytes) -> bytes:
        return struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce"

    frames = (
        frame(1, struct.pack(">I", Basic.Publish.index) + method)
        + frame(2, struct.pack(">HHQH", Basic.frame_id, 0, len(body), 0))
        + frame(3, body)
    )
    await channel.write_queue.put(
        aiormq.abc.ChannelFrame(payload=frames, should_close=False, drain_future=None)
    )


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 1_000 + b"]" * 1_000, b'{"cancelled": {}}'])
async def test_odd_announcement_ends_no_listener(
    rabbit: RabbitBroker, console: Console, body: bytes
) -> None:
    heard: list[Announcement] = []

    async def is_heard() -> bool:
        await rabbit.announce(Cancelled("p-1"))
        return bool(heard)

    async with listening(rabbit, heard.append):
        await eventually(is_heard)
        async with await aiormq.connect(console.url) as connection:
            channel = await connection.channel()
            await channel.basic_publish(body, exchange=console.name("control"))
        heard.clear()
        await eventually(is_heard)
