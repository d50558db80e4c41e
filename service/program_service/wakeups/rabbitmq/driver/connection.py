"""Connection: connections, channels and messages, with only what we need of them.

aio-pika opens connections and channels. Commands are sent over the aiormq channel that lies under
each of its channels: its queues and messages look at more than we need, and raise where that is
odd. Every method that asks RabbitMQ for something raises `BrokerError`, and nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as AiormqChannel
from pamqp.commands import Basic
from yarl import URL

from program_service.wakeups.rabbitmq.driver.errors import BrokerError, ConnectionLost
from program_service.wakeups.rabbitmq.driver.transport import TIMEOUT_S, Transport, started

CLOSE_TIMEOUT_S = 1.0
"""For the last words of a connection; then its socket is closed."""

PERSISTENT = 2

CONFIGURE, READ, WRITE, BIND = "configure", "read", "write", "write (queue) or read (exchange)"
"""What RabbitMQ calls the permissions of a user."""


async def open_connection(url: URL) -> "Connection":
    """Open a connection.

    Raises:
        BrokerError: RabbitMQ does not answer, or does not let us in.
    """
    transport = Transport()

    async def connect() -> aio_pika.Connection:
        driver = aio_pika.Connection(url)
        driver.kwargs["transport_factory"] = transport  # what it hands on to aiormq
        try:
            await driver.connect()
        except BaseException:
            await driver.close()  # else the garbage collector would start a task for that
            raise
        return driver

    try:
        return Connection(await transport.call(connect()), transport)
    except BaseException:
        transport.abort()
        raise


class Connection:
    """An open connection; once closed, it is of no use any more."""

    def __init__(self, driver: aio_pika.Connection, transport: Transport) -> None:
        """Take what `open_connection` has opened."""
        assert driver.transport is not None
        self._driver = driver
        self._underlay = driver.transport.connection
        self._transport = transport
        self._opened_at = time.monotonic()
        self.ended_at: float | None = None
        """When it ended, in monotonic time."""
        self._underlay.closing.add_done_callback(self._note_end)

    def _note_end(self, _closing: object) -> None:
        self.ended_at = time.monotonic()

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return not self._underlay.is_opened

    @property
    def lived_s(self) -> float:
        """How long it was, or has been, open."""
        return (self.ended_at or time.monotonic()) - self._opened_at

    @property
    def blocked(self) -> str | None:
        """Why RabbitMQ takes no messages over it, if it does not."""
        return self._transport.frames.blocked if self._transport.frames else None

    async def channel(self, *, confirms: bool = False) -> "Channel":
        """Open a channel; with confirms, a message that is routed to no queue is refused.

        Raises:
            BrokerError: it cannot be opened.
        """

        async def opened() -> tuple[AbstractChannel, AiormqChannel]:
            channel = self._driver.channel(publisher_confirms=confirms, on_return_raises=confirms)
            await channel.initialize()
            # its abstract class does not know all of its options
            return channel, cast("AiormqChannel", await channel.get_underlay_channel())

        return Channel(self, *await self._transport.call(opened()), self._transport)

    def is_over(self, transport: object) -> bool:
        """Whether this is the connection over some transport."""
        return transport is self._transport

    async def close(self) -> None:
        """Close it, in order if RabbitMQ answers."""
        closing = started(self._driver.close(ConnectionLost("this process closed it")))
        try:
            await asyncio.wait([closing], timeout=CLOSE_TIMEOUT_S)
        finally:
            self._transport.abort()


class Channel:
    """A channel of a connection; after an error it is of no use any more."""

    def __init__(
        self,
        connection: Connection,
        opened: AbstractChannel,
        driver: AiormqChannel,
        transport: Transport,
    ) -> None:
        """Take what the connection has opened, and what lies under it."""
        self._connection = connection
        self._opened = opened
        self._driver = driver
        self._transport = transport
        self.is_consumer_cancelled = False
        """Whether RabbitMQ has ended a consumer, because its queue was deleted, for example."""
        self.ended: Callable[[], None] = lambda: None
        """Called when it, or a consumer on it, has ended."""
        driver.closing.add_done_callback(lambda _closing: self.ended())
        driver.on_consumer_cancel_callbacks.add(self._note_cancel)

    def _note_cancel(self, _frame: object) -> None:
        self.is_consumer_cancelled = True
        self.ended()

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._driver.is_closed or self._connection.is_closed

    async def set_prefetch(self, count: int) -> None:
        """Have each consumer hold so many messages at most."""
        await self._transport.call(self._driver.basic_qos(prefetch_count=count))

    async def declare_queue(self, name: str, **options: Any) -> "Declared":
        """Declare a queue; or, with `passive=True`, ask for it."""
        found = await self._transport.call(
            self._driver.queue_declare(name, **options), needs=CONFIGURE
        )
        return Declared(found.message_count or 0, found.consumer_count or 0)

    async def declare_exchange(self, name: str, **options: Any) -> None:
        """Declare an exchange."""
        await self._transport.call(self._driver.exchange_declare(name, **options), needs=CONFIGURE)

    async def bind(self, queue: str, exchange: str) -> None:
        """Put what is sent to an exchange into a queue."""
        await self._transport.call(self._driver.queue_bind(queue, exchange), needs=BIND)

    async def delete_queue(self, name: str, *, within_s: float = TIMEOUT_S) -> None:
        """Delete a queue, with all that is in it."""
        call = self._driver.queue_delete(name)
        await self._transport.call(call, within_s=within_s, needs=CONFIGURE)

    async def consume(
        self, queue: str, receive: "Callable[[Message], None]", *, no_ack: bool = False
    ) -> str:
        """Receive messages, and return the tag of the consumer."""

        async def deliver(delivered: DeliveredMessage) -> None:
            receive(Message(delivered.body, delivered.delivery_tag or 0, self))

        call = self._driver.basic_consume(queue, deliver, no_ack=no_ack)
        return (await self._transport.call(call, needs=READ)).consumer_tag or ""

    async def cancel(self, tag: str) -> None:
        """End a consumer; what it has received stays with the channel."""
        await self._transport.call(self._driver.basic_cancel(tag))

    async def peek(self, queue: str) -> None:
        """Take a message, if there is one; it returns to its queue when the channel ends."""
        await self._transport.call(self._driver.basic_get(queue), needs=READ)

    async def publish(
        self, bodies: Sequence[bytes], *, key: str, exchange: str = ""
    ) -> list[BrokerError | None]:
        """Send messages, and return for each what went wrong; None: it was confirmed.

        What is sent to a queue by its name must reach it; an exchange may have no listeners.
        """
        calls = [
            self._driver.basic_publish(
                body,
                exchange=exchange,
                routing_key=key,
                mandatory=not exchange,
                # of its own for each: the driver writes an id into it
                properties=Basic.Properties("application/json", delivery_mode=PERSISTENT),
                wait=False,
            )
            for body in bodies
        ]
        if not calls:
            return []
        outcomes = await self._transport.outcomes(calls, within_s=TIMEOUT_S, needs=WRITE)
        return [each if isinstance(each, BrokerError) else None for each in outcomes]

    async def acknowledge(self, tag: int) -> None:
        """Have RabbitMQ forget a message."""
        await self._transport.call(self._driver.basic_ack(tag, wait=False))

    async def reject(self, tag: int) -> None:
        """Have RabbitMQ put a message aside, to the dead letters."""
        await self._transport.call(self._driver.basic_reject(tag, requeue=False, wait=False))

    async def close(self) -> None:
        """Close it, if RabbitMQ answers; what it holds unacknowledged returns to its queue."""

        async def close() -> None:
            await self._opened.close(ConnectionLost("this process closed the channel"))

        if not self.is_closed:
            await self._transport.outcomes([close()], within_s=CLOSE_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Declared:
    """What RabbitMQ says of a queue."""

    messages: int
    consumers: int


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message that arrived."""

    body: bytes
    tag: int
    channel: Channel

    async def acknowledge(self) -> None:
        """Have RabbitMQ forget it."""
        await self.channel.acknowledge(self.tag)

    async def reject(self) -> None:
        """Have RabbitMQ put it aside, to the dead letters."""
        await self.channel.reject(self.tag)
