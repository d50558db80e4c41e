"""Driver: RabbitMQ as a `Broker`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
import orjson
import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity

from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Cancelled, Wakeup
from program_service.wakeups.rabbitmq.link import FAILURES, TIMEOUT_S, Link
from program_service.wakeups.rabbitmq.publisher import Publisher
from program_service.wakeups.rabbitmq.subscription import RabbitSubscription
from program_service.wakeups.rabbitmq.topology import Topology

log = structlog.get_logger()

LISTEN_AGAIN_S = 1.0


class RabbitBroker:
    """Wake-ups over RabbitMQ."""

    def __init__(self, url: str, *, queue_name: str, metrics: Metrics) -> None:
        """Take the address; nothing is connected yet."""
        self._url = url
        self._metrics = metrics
        self._topology = Topology(queue_name)
        self._out = Link(url, metrics, purpose="publisher")
        self._publisher = Publisher(self._out, self._topology)

    async def close(self) -> None:
        """Close the publishing connection; subscriptions close their own."""
        await self._out.close()

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it."""
        return await self._publisher.publish(wakeups)

    @asynccontextmanager
    async def subscribe(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AsyncGenerator[RabbitSubscription]:
        """Receive the wake-ups of these queues."""
        link = Link(self._url, self._metrics, purpose="consumer")
        subscription = RabbitSubscription(
            link, self._topology, self._metrics, queues=queues, prefetch=prefetch
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(subscription.run())
            try:
                yield subscription
            finally:
                running.cancel()
                await link.close()

    async def announce(self, cancelled: Cancelled) -> None:
        """Tell all workers of a cancelled program."""
        await self._publisher.announce(cancelled)

    @asynccontextmanager
    async def on_cancelled(self, listener: Callable[[Cancelled], None]) -> AsyncGenerator[None]:
        """Call the listener for each announcement, over a queue of this process alone."""
        link = Link(self._url, self._metrics, purpose="control")
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._listen(link, listener))
            try:
                yield
            finally:
                running.cancel()
                await link.close()

    async def _listen(self, link: Link, listener: Callable[[Cancelled], None]) -> None:
        async def receive(message: AbstractIncomingMessage) -> None:
            try:
                listener(Cancelled(str(orjson.loads(message.body)["cancelled"])))
            except (ValueError, KeyError, TypeError) as error:
                log.warning(Event.WAKEUP_UNPARSABLE, queue="control", error_message=str(error))

        while True:
            try:
                channel = await link.channel()
                exchange = await channel.declare_exchange(
                    self._topology.control, aio_pika.ExchangeType.FANOUT, durable=True
                )
                queue = await channel.declare_queue(exclusive=True, auto_delete=True)
                await queue.bind(exchange)
                await queue.consume(receive, no_ack=True)
                await channel.closed()
            except FAILURES as error:
                # cancels are noticed at the next renewal meanwhile
                log.warning(Event.BROKER_LOST, during="control", error_message=repr(error))
            await link.close()
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait in a queue; None when the broker does not answer."""
        name = self._topology.queue(queue)
        try:
            channel = await self._out.channel()
            try:
                found = await channel.declare_queue(name, passive=True, timeout=TIMEOUT_S)
            except ChannelNotFoundEntity:
                return 0  # a queue that is not there holds nothing
            await channel.close()
        except FAILURES:
            return None
        return found.declaration_result.message_count or 0
