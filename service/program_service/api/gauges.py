"""Gauges: what Prometheus and people are shown of table, workers and broker; read in one place.

However many ask, and however often, it is read seldom: a table with many open programs takes a
while, and a scrape must not wait for a server that does not answer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError, DatabaseUnavailable
from program_service.bookkeeping.ledger.measuring import Backlog, measure_backlog
from program_service.bookkeeping.ledger.workers import Worker, list_workers
from program_service.bookkeeping.lifecycle import Status
from program_service.loops.turns import is_set_within, turn
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Depths

KEEP_S = 5.0
"""For how long a reading is shown."""

REST = 50
"""How many times longer a reading is shown than it took: each service takes 2 % of a core for it.

Beside a million programs that ended PostgreSQL counts 20,000 open ones in 20 ms, 200,000 in 400 ms.
"""

READ_WITHIN_S = 60.0
WAIT_S = 5.0
"""How long a scrape waits for a reading; Prometheus gives up after 10 s."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read; a depth is None where the broker does not answer."""

    backlog: Backlog
    workers: Sequence[Worker]
    depths: Mapping[str, int | None]


class Gauges:
    """The gauges that are read from elsewhere, by a loop, when somebody asks and they are old."""

    name = "gauges"

    def __init__(
        self, database: Database, depths: Depths, metrics: Metrics, *, beat_s: float
    ) -> None:
        """Take whom to read from, and how often workers say that they live."""
        self._database = database
        self._depths = depths
        self._metrics = metrics
        self._beat_s = beat_s
        self._asked = asyncio.Event()
        self._answered = asyncio.Event()
        self._shown: Reading | None = None
        self._patient_until = self._good_until = float("-inf")

    async def refresh(self) -> None:
        """Have read again what is old; a reading that is late comes with a later scrape."""
        now = time.monotonic()
        if not self._asked.is_set() and now >= self._good_until:
            self._answered.clear()
            self._asked.set()
            self._patient_until = now + WAIT_S
        if self._asked.is_set():
            await is_set_within(self._answered, max(0.0, self._patient_until - now))

    async def read(self) -> Reading:
        """Return what is shown, after reading anew what is old.

        Raises:
            DatabaseUnavailable: nothing could be read.
        """
        await self.refresh()
        if self._shown is None:
            raise DatabaseUnavailable
        return self._shown

    async def run(self) -> None:
        """Read whenever somebody has asked."""
        while True:
            await self._asked.wait()
            async with turn(within_s=2 * READ_WITHIN_S):
                await self._read()

    async def _read(self) -> None:
        began, reading = time.monotonic(), None
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                reading = await self._measure()
        except (OSError, BookkeepingError):
            pass  # an alert tells of numbers that are missing
        finally:
            self._forget()  # no number is better than an old one
            self._shown = reading
            if reading is not None:
                self._show(reading)
            now = time.monotonic()
            self._good_until = now + max(KEEP_S, REST * (now - began))
            self._asked.clear()
            self._answered.set()

    async def _measure(self) -> Reading:
        backlog = await self._database.read(measure_backlog)
        workers = await self._database.read(list_workers, beat_s=self._beat_s)
        queues = sorted({"default", *backlog.due_ages_s, *_served(workers)})
        # all at a time: they are read together
        depths = await asyncio.gather(*map(self._depths.depth, queues))
        return Reading(backlog, workers, dict(zip(queues, depths, strict=True)))

    def _show(self, reading: Reading) -> None:
        gauges, ages_s = self._metrics, reading.backlog.due_ages_s
        for status in Status:
            if not status.is_final:
                gauges.programs.labels(status.value).set(reading.backlog.counts.get(status, 0))
        serving = Counter(_served(reading.workers))
        for queue, depth in reading.depths.items():
            gauges.oldest_due_s.labels(queue).set(ages_s.get(queue, 0.0))
            gauges.workers.labels(queue).set(serving[queue])
            if depth is not None:
                gauges.queue_depth.labels(queue).set(depth)
        busy = sum(worker.busy for worker in reading.workers)
        gauges.slots.labels("busy").set(busy)
        gauges.slots.labels("free").set(sum(worker.slots for worker in reading.workers) - busy)

    def _forget(self) -> None:
        gauges = self._metrics
        for gauge in (
            gauges.programs,
            gauges.oldest_due_s,
            gauges.workers,
            gauges.queue_depth,
            gauges.slots,
        ):
            gauge.clear()


def _served(workers: Sequence[Worker]) -> list[str]:
    """Return the queues that workers serve, each as often as somebody does."""
    return [queue for worker in workers for queue in worker.queues]
