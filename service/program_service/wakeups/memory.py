"""Memory broker: queues inside one process, for the embedded server and for tests."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from program_service.wakeups.broker import Announcement, Delivery, Wakeup


class MemoryBroker:
    """Wake-ups in memory; what is lost with the process, the sweeper brings back."""

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

    @asynccontextmanager
    async def subscribe(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AsyncIterator["MemorySubscription"]:
        """Receive wake-ups; they are fetched one by one, so no prefetch is needed."""
        del prefetch
        yield MemorySubscription(self, queues)

    async def announce(self, announcement: Announcement) -> None:
        """Call every listener."""
        for listener in self._listeners:
            listener(announcement)

    @asynccontextmanager
    async def on_announced(self, listener: Callable[[Announcement], None]) -> AsyncIterator[None]:
        """Listen to announcements."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

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


class MemorySubscription:
    """The wake-ups of some queues of a memory broker."""

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

    async def resume(self) -> None:
        """Go on: what is received is what is asked for."""


class MemoryDelivery:
    """A wake-up from memory."""

    def __init__(self, wakeup: Wakeup) -> None:
        """Hold the wake-up."""
        self.wakeup = wakeup

    async def acknowledge(self) -> None:
        """Forget it: it left the queue when it was taken."""
