"""Subscription: the wake-ups of some queues in one line, each queue with a consumer of its own."""

import asyncio
from collections.abc import Callable, Sequence

from program_service.wakeups.broker import Delivery
from program_service.wakeups.rabbitmq.consumer import Consumer


class RabbitSubscription:
    """The wake-ups of some queues."""

    def __init__(
        self, queues: Sequence[str], consume: Callable[[str, Callable[[Delivery], None]], Consumer]
    ) -> None:
        """Receive from these queues while `loops` run; `consume` makes a consumer of one."""
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self.loops = tuple(consume(queue, self._arrived.put_nowait) for queue in queues)

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""
        return await self._arrived.get()

    async def pause(self) -> list[Delivery]:
        """Receive no more, and return what has arrived and was not taken."""
        await asyncio.gather(*(consumer.pause() for consumer in self.loops))
        taken = []
        while not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        return taken

    def resume(self) -> None:
        """Receive again, soon."""
        for consumer in self.loops:
            consumer.resume()
