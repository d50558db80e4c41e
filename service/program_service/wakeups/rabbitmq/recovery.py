"""Recovery: the loop that tries queues which fail, so that nobody who publishes waits for them."""

import asyncio

from program_service.cancellation import TaskGroup
from program_service.wakeups.rabbitmq.publisher import Publisher


class Recovery:
    """Publishers whose queues fail, each tried in a task of its own."""

    name = "failing-queues"

    def __init__(self) -> None:
        """Begin without any."""
        self._failing: set[Publisher] = set()
        self._arrived = asyncio.Event()

    def take(self, publisher: Publisher) -> None:
        """Try this publisher's queue until it works."""
        self._failing.add(publisher)
        self._arrived.set()

    async def run(self) -> None:
        """Try all that fail; a loop that is started again begins with those of the last."""
        begun: set[Publisher] = set()
        async with TaskGroup() as tasks:
            while True:
                for publisher in self._failing - begun:
                    begun.add(publisher)
                    tasks.create_task(self._recover(publisher, begun))
                self._arrived.clear()
                await self._arrived.wait()

    async def _recover(self, publisher: Publisher, begun: set[Publisher]) -> None:
        await publisher.recover()
        begun.discard(publisher)
        if not publisher.is_failing:
            self._failing.discard(publisher)
