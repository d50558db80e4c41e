"""Subscription: the wake-ups of some queues in one line, each queue with a consumer of its own."""

import asyncio
from collections.abc import Sequence

from program_service.wakeups.broker import Delivery
from program_service.wakeups.rabbitmq.consumer import Consumer


class RabbitSubscription:
    """The wake-ups of some queues."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        """Receive by these consumers while `run` runs."""
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._consumers = consumers

    async def run(self) -> None:
        """Keep the consumers at the broker for ever."""
        async with asyncio.TaskGroup() as tasks:
            for consumer in self._consumers:
                tasks.create_task(consumer.run(self._arrived.put_nowait))

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""
        return await self._arrived.get()

    async def pause(self) -> list[Delivery]:
        """Receive no more, and return what has arrived and was not taken."""
        await asyncio.gather(*(consumer.pause() for consumer in self._consumers))
        taken = []
        while not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        return taken

    async def resume(self) -> None:
        """Receive again."""
        await asyncio.gather(*(consumer.resume() for consumer in self._consumers))
