"""Driver: RabbitMQ as a `Broker`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractIncomingMessage

from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Announcement, Wakeup
from program_service.wakeups.rabbitmq.consumer import Consumer
from program_service.wakeups.rabbitmq.link import FAILURES, Link
from program_service.wakeups.rabbitmq.publisher import Announcer, Publisher
from program_service.wakeups.rabbitmq.subscription import RabbitSubscription
from program_service.wakeups.rabbitmq.topology import Topology, Unparsable, read_announcement

LISTEN_AGAIN_S = 1.0


class RabbitBroker:
    """Wake-ups over RabbitMQ."""

    def __init__(self, url: str, *, queue_name: str, metrics: Metrics) -> None:
        """Take the address; nothing is connected yet."""
        self._url = url
        self._metrics = metrics
        self._topology = Topology(queue_name)
        self._publishers: dict[str, Publisher] = {}
        self._announcer = Announcer(self._link("announcer"), self._topology)

    async def close(self) -> None:
        """Close the publishing connections; subscriptions close their own."""
        publishers = self._publishers.values()
        await asyncio.gather(self._announcer.close(), *(each.close() for each in publishers))

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, wakeup in enumerate(wakeups):
            places[wakeup.queue].append(place)
        answers = await asyncio.gather(
            *(
                self._publisher(queue).publish([wakeups[place] for place in of_queue])
                for queue, of_queue in places.items()
            )
        )
        confirmed = [False] * len(wakeups)
        for of_queue, of_places in zip(answers, places.values(), strict=True):
            for answer, place in zip(of_queue, of_places, strict=True):
                confirmed[place] = answer
        return confirmed

    def _publisher(self, queue: str) -> Publisher:
        if queue not in self._publishers:
            self._publishers[queue] = Publisher(self._link("publisher"), self._topology, queue)
        return self._publishers[queue]

    def _link(self, purpose: str) -> Link:
        return Link(self._url, self._metrics, purpose=purpose)

    @asynccontextmanager
    async def subscribe(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AsyncGenerator[RabbitSubscription]:
        """Receive the wake-ups of these queues."""
        # a connection for each queue: a sick one closes it
        consumers = [
            Consumer(
                self._link("consumer"), self._topology, self._metrics, queue, prefetch=prefetch
            )
            for queue in queues
        ]
        subscription = RabbitSubscription(consumers)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(subscription.run())
            try:
                yield subscription
            finally:
                running.cancel()
                await asyncio.gather(*(consumer.close() for consumer in consumers))

    async def announce(self, announcement: Announcement) -> None:
        """Tell all workers, if the broker is there."""
        await self._announcer.announce(announcement)

    @asynccontextmanager
    async def on_announced(self, listener: Callable[[Announcement], None]) -> AsyncGenerator[None]:
        """Call the listener for each announcement, over a queue of this process alone."""
        link = self._link("control")
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._listen(link, listener))
            try:
                yield
            finally:
                running.cancel()
                await link.close()

    async def _listen(self, link: Link, listener: Callable[[Announcement], None]) -> None:
        async def receive(message: AbstractIncomingMessage) -> None:
            try:
                listener(read_announcement(message.body))
            except Unparsable as error:
                log.warning(Event.WAKEUP_UNPARSABLE, queue="control", error_message=str(error))

        while True:
            try:
                channel = await link.channel()
                queue = await self._topology.declare_ears(channel)
                await queue.consume(receive, no_ack=True)
                await channel.closed()
            except FAILURES as error:
                # cancels are noticed at the next renewal meanwhile
                log.warning(Event.BROKER_LOST, during="control", error_message=repr(error))
            await link.close()
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait in a queue; None when the broker does not answer."""
        return await self._publisher(queue).depth()
