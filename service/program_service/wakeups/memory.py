"""Memory broker: queues inside one process, for the embedded server and for tests."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from program_service.loops.supervisor import Loop
from program_service.wakeups.broker import (
    Announcement,
    BrokerReading,
    Delivery,
    KnownTrouble,
    Wakeup,
)


class MemoryBroker:
    """Wake-ups in memory; what is lost with the process, the sweeper brings back."""

    loops: Sequence[Loop] = ()
    trouble: KnownTrouble | None = None

    def __init__(self) -> None:
        """Begin without queues."""
        self._queues: dict[str, deque[Wakeup]] = {}
        self._takers: deque[Taker] = deque()
        self._listeners: list[Callable[[Announcement], None]] = []

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Hand each wake-up to whoever has waited longest, or put it into its queue."""
        for wakeup in wakeups:
            taker = next((taker for taker in self._takers if taker.wants(wakeup)), None)
            if taker is None:
                self._queues.setdefault(wakeup.queue, deque()).append(wakeup)
            else:
                self._takers.remove(taker)
                taker.answer.set_result(wakeup)
        return [True] * len(wakeups)

    def subscribe(self, queues: Sequence[str], *, prefetch: int) -> "MemorySubscription":
        """Receive wake-ups; they are fetched one by one, so no prefetch is needed."""
        del prefetch
        return MemorySubscription(self, queues)

    async def announce(self, announcement: Announcement) -> None:
        """Call every listener."""
        for hear in self._listeners:
            hear(announcement)

    def listener(self, hear: Callable[[Announcement], None]) -> "MemoryListener":
        """Make a loop that listens to announcements."""
        return MemoryListener(self._listeners, hear)

    async def read(self, queues: Sequence[str]) -> BrokerReading:
        """Count the wake-ups that wait in these queues."""
        depths = {queue: await self.depth(queue) for queue in queues}
        known = {queue: depth for queue, depth in depths.items() if depth is not None}
        return BrokerReading(known, None if len(known) == len(queues) else "down")

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait."""
        return len(self._queues.get(queue, ()))

    async def purge(self) -> None:
        """Lose every wake-up, as a broker may."""
        self._queues.clear()

    async def take(self, queues: Sequence[str]) -> Wakeup:
        """Wait for a wake-up of one of the queues, in turn with others who wait."""
        for queue in queues:
            if waiting := self._queues.get(queue):
                return waiting.popleft()
        taker = Taker(frozenset(queues), asyncio.get_running_loop().create_future())
        self._takers.append(taker)
        try:
            return await taker.answer
        except asyncio.CancelledError:
            if taker in self._takers:
                self._takers.remove(taker)
            elif not taker.answer.cancelled():
                await self.publish([taker.answer.result()])  # it came too late: on to the next
            raise


@dataclass(frozen=True, slots=True, eq=False)
class Taker:
    """Somebody who waits for a wake-up."""

    queues: frozenset[str]
    answer: asyncio.Future[Wakeup]

    def wants(self, wakeup: Wakeup) -> bool:
        """Say whether the wake-up is for this one, who still waits."""
        return wakeup.queue in self.queues and not self.answer.done()


class MemoryListener:
    """A loop that listens while it runs."""

    name = "control"

    def __init__(
        self,
        listeners: list[Callable[[Announcement], None]],
        hear: Callable[[Announcement], None],
    ) -> None:
        """Be one of these listeners."""
        self._listeners = listeners
        self._hear = hear

    async def run(self) -> None:
        """Listen."""
        self._listeners.append(self._hear)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.remove(self._hear)


class MemorySubscription:
    """The wake-ups of some queues of a memory broker."""

    loops: Sequence[Loop] = ()

    def __init__(self, broker: MemoryBroker, queues: Sequence[str]) -> None:
        """Serve these queues; the first has the first choice."""
        self._broker = broker
        self._queues = tuple(queues)

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""
        return MemoryDelivery(await self._broker.take(self._queues))

    async def pause(self) -> Sequence[Delivery]:
        """Return nothing: what was not taken is in its queue still."""
        return ()

    def resume(self) -> None:
        """Go on: what is received is what is asked for."""


class MemoryDelivery:
    """A wake-up from memory."""

    def __init__(self, wakeup: Wakeup) -> None:
        """Hold the wake-up."""
        self.wakeup = wakeup

    async def acknowledge(self) -> None:
        """Forget it: it left the queue when it was taken."""
