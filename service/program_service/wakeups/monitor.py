"""Monitor: what is known of the broker, looked up in the background and shared by all who ask.

However many ask, and whoever they are, the broker is asked once in a while; and nobody who asks
waits for a broker that did not answer the last time.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE
from program_service.loops.turns import is_set_within, turn
from program_service.wakeups.broker import Broker, BrokerReading

KEEP_S = 5.0
"""How old a reading may be, unless somebody wants a newer one."""

GAP_S = 0.2
"""Between two readings, however new they are wanted."""

WAIT_S = 1.0
"""How long somebody waits for a reading."""

WANTED_S = 60.0
"""How long a queue is read after somebody asked for it."""

MAX_QUEUES = 1_000
"""Queues that are read; their names come from whoever registers jobs."""

UNKNOWN = BrokerReading({}, "unknown")


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """How the broker was the last time."""

    trouble: str | None
    """What was wrong with it, if anything."""
    age_s: float
    """How long ago that was."""


@dataclass(frozen=True, slots=True)
class RecentDepths:
    """What waits in queues, not older than somebody needs it."""

    monitor: "BrokerMonitor"
    max_age_s: float

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait; None when that is not known."""
        return await self.monitor.depth(queue, max_age_s=self.max_age_s)


class BrokerMonitor:
    """The one that asks the broker; a loop."""

    name = "broker-monitor"

    def __init__(self, broker: Broker) -> None:
        """Look at this broker while `run` runs."""
        self._broker = broker
        self._wanted: dict[str, float] = {}
        self._last = UNKNOWN
        self._last_queues: Sequence[str] = ()
        self._last_at = -math.inf
        self._began_at = time.monotonic()
        self._due_at = -math.inf
        self._looking_since = math.inf
        self._stirred = asyncio.Event()
        self._taken = asyncio.Condition()

    @property
    def health(self) -> BrokerHealth:
        """How the broker was the last time; if that is long ago, it is looked at soon."""
        self._ask(by=self._last_at + KEEP_S)
        now, known = time.monotonic(), self._broker.trouble
        if known is not None and known.since > self._last_at:
            return BrokerHealth(known.text, max(0.0, now - known.since))
        return BrokerHealth(self._last.trouble, now - max(self._last_at, self._began_at))

    async def read(self, queues: Sequence[str], *, max_age_s: float = KEEP_S) -> BrokerReading:
        """Return a reading with these queues, of this age at most if the broker answers."""
        now = time.monotonic()
        self._wanted |= dict.fromkeys(queues, now)
        self._ask(by=self._last_at + max_age_s if self._has(queues) else now)

        def is_new() -> bool:
            return self._has(queues) and self._last_at >= now - max_age_s

        if self._last is UNKNOWN or self._last.trouble is None:
            patience_s = WAIT_S - max(0.0, now - self._looking_since)
            try:
                async with asyncio.timeout(max(0.0, patience_s)), self._taken:
                    await self._taken.wait_for(is_new)
            except TimeoutError:
                pass  # the last one has to do
        return self._last

    async def depth(self, queue: str, *, max_age_s: float = KEEP_S) -> int | None:
        """Count the wake-ups that wait in a queue; None when that is not known."""
        oldest = time.monotonic() - max_age_s
        reading = await self.read([queue], max_age_s=max_age_s)
        return reading.depths.get(queue) if self._last_at >= oldest else None

    def depths(self, *, max_age_s: float) -> "RecentDepths":
        """Return who counts what waits, or waited so long ago at most."""
        return RecentDepths(self, max_age_s)

    async def run(self) -> None:
        """Look at the broker whenever somebody wants to know and the last reading is old."""
        while True:
            self._stirred.clear()
            pause_s = max(self._due_at, self._last_at + GAP_S) - time.monotonic()
            if pause_s <= 0:
                async with turn():
                    await self._look()
            else:
                await is_set_within(self._stirred, min(pause_s, WANTED_S))

    async def _look(self) -> None:
        self._due_at, self._looking_since = math.inf, time.monotonic()
        queues = self._queues()
        reading = await self._broker.read(queues)
        self._looking_since = math.inf
        async with self._taken:
            self._last, self._last_queues = reading, queues
            self._last_at = time.monotonic()
            self._taken.notify_all()

    def _queues(self) -> Sequence[str]:
        """Return the queues that somebody asked for of late, the latest first."""
        since = time.monotonic() - WANTED_S
        wanted = sorted(self._wanted.items(), key=lambda item: item[1], reverse=True)
        self._wanted = {queue: at for queue, at in wanted[:MAX_QUEUES] if at > since}
        return list({DEFAULT_QUEUE: 0.0} | self._wanted)

    def _has(self, queues: Sequence[str]) -> bool:
        return set(queues) <= set(self._last_queues)

    def _ask(self, *, by: float) -> None:
        if by < self._due_at:
            self._due_at = by
            self._stirred.set()
