"""Publishers: wake-ups to their queues, all queues at a time, over a limited number of channels.

RabbitMQ ends a connection that opens too many channels, 2,047 by default. Queues that nobody
publishes to for a while give theirs back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from program_service.wakeups.broker import Wakeup
from program_service.wakeups.rabbitmq.publisher import Publisher

MAX_CHANNELS = 500


class Publishers:
    """The publishers of a process, one for each queue."""

    def __init__(self, make: Callable[[str], Publisher]) -> None:
        """Make a publisher when its queue is published to."""
        self._make = make
        self._of_queue: dict[str, Publisher] = {}

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, wakeup in enumerate(wakeups):
            places[wakeup.queue].append(place)
        confirmed = [False] * len(wakeups)

        async def publish_to(queue: str) -> None:
            sent = [wakeups[place] for place in places[queue]]
            answers = await self._publisher(queue).publish(sent)
            for place, is_sure in zip(places[queue], answers, strict=True):
                confirmed[place] = is_sure

        queues = list(places)
        for first in range(0, len(queues), MAX_CHANNELS):
            await asyncio.gather(*map(publish_to, queues[first : first + MAX_CHANNELS]))
            await self._close_surplus()
        return confirmed

    async def close(self) -> None:
        """Close what is theirs alone."""
        await asyncio.gather(*(each.close() for each in self._of_queue.values()))

    def _publisher(self, queue: str) -> Publisher:
        publisher = self._of_queue.pop(queue, None) or self._make(queue)
        self._of_queue[queue] = publisher  # the latest is the last
        return publisher

    async def _close_surplus(self) -> None:
        surplus = list(self._of_queue)[: max(0, len(self._of_queue) - MAX_CHANNELS)]
        idle = [queue for queue in surplus if self._of_queue[queue].is_idle]
        await asyncio.gather(*(self._of_queue.pop(queue).close() for queue in idle))
