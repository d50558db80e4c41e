"""Relay: wake somebody for what was just committed.

The caller does not wait: what the relay cannot deliver, the sweeper finds.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.halves import write_by_halves
from program_service.bookkeeping.ledger.waking import Due, mark_woken
from program_service.crashpoints import CrashPoint, reach
from program_service.logs import log
from program_service.loops.turns import turn
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import MAX_BUNDLE, Broker, Wakeup

MAX_WAITING = 50_000
"""Rows that wait for the broker at most; the rest is the sweeper's. About 20 MB."""

DRAIN_WITHIN_S = 6.0
"""At the end of the process: longer than one publish may take."""


@dataclass(frozen=True, slots=True)
class Woken:
    """What became of waking: rows that no broker confirmed, and rows that could not be marked."""

    left: Sequence[Due]
    unmarked: Sequence[Due]


class Waker:
    """Publish wake-ups for due rows, and mark those that the broker confirmed."""

    def __init__(self, database: Database, broker: Broker, metrics: Metrics) -> None:
        """Take what it needs."""
        self._database = database
        self._broker = broker
        self._metrics = metrics
        self._directory = JobDirectory(database)

    async def wake(self, rows: Sequence[Due], *, published_at: datetime) -> Woken:
        """Wake for these rows, and mark those whose wake-up the broker confirmed.

        The queue is that of the row's job by now, whoever wrote the row, and whenever.
        """
        bundles = bundle(await self._in_queues_of_now(rows))
        wakeups = [
            Wakeup(rows[0].queue, tuple(row.run_id for row in rows), published_at)
            for rows in bundles
        ]
        began = time.perf_counter()
        confirmed = await self._broker.publish(wakeups)
        self._metrics.confirm_s.observe(time.perf_counter() - began)
        self._metrics.published.labels(result="confirmed").inc(sum(confirmed))
        if not all(confirmed):
            failed = confirmed.count(False)
            self._metrics.published.labels(result="failed").inc(failed)
            log.warning(Event.WAKEUP_NOT_CONFIRMED, wakeups=failed)
        reach(CrashPoint.WAKE_PUBLISHED)
        pairs = list(zip(bundles, confirmed, strict=True))
        woken = [row for rows, is_sure in pairs if is_sure for row in rows]
        left = [row for rows, is_sure in pairs if not is_sure for row in rows]
        return Woken(left, await self._mark(woken))

    async def _mark(self, woken: Sequence[Due]) -> list[Due]:
        """Mark rows as woken; return those that are locked, have changed, or cannot be changed."""
        unmarked = list[Due]()

        async def mark(rows: Sequence[Due]) -> None:
            unmarked.extend(
                await self._database.transact_past_outages(PATIENCE_S, mark_woken, rows)
            )

        def leave_out(row: Due, error: BookkeepingError) -> None:
            self._database.complaints.note_refused("wake", row.run_id, error)
            unmarked.append(row)

        await write_by_halves(mark, woken, leave_out=leave_out)
        return unmarked

    async def queues_of(self, jobs: Iterable[str]) -> dict[str, str]:
        """Return {job: queue} of those that are registered, as of a second ago at most."""
        return await self._directory.queues(jobs)

    async def _in_queues_of_now(self, rows: Sequence[Due]) -> list[Due]:
        queues = await self.queues_of(row.job for row in rows if row.job is not None)
        of_now = [queues.get(row.job or "", row.queue) for row in rows]
        return [
            row if row.queue == queue else replace(row, queue=queue, former_queue=row.queue)
            for row, queue in zip(rows, of_now, strict=True)
        ]


class Relay:
    """Collect what was just committed and wake for it, while the next is being collected."""

    name = "relay"

    def __init__(self, waker: Waker) -> None:
        """Take the waker that it shares with nobody."""
        self._waker = waker
        self._waiting: list[Due] = []
        self._published_at: datetime | None = None
        self._arrived = asyncio.Event()

    def wake_soon(self, rows: Sequence[Due], *, committed_at: datetime) -> None:
        """Wake for these rows soon; `committed_at` is the database's time."""
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extend(rows[:room])
        self._published_at = committed_at
        self._arrived.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            async with turn():
                await self._flush()

    async def drain(self) -> None:
        """Wake for what waits, before the process ends."""
        try:
            async with asyncio.timeout(DRAIN_WITHIN_S):
                await self._flush()
        except (BookkeepingError, OSError) as error:
            log.warning(Event.WAKEUP_NOT_CONFIRMED, error_message=str(error))

    async def _flush(self) -> None:
        """Wake for what waits; if that fails, the rows are not marked, and the sweeper wakes."""
        rows, self._waiting = self._waiting, []
        if not rows or self._published_at is None:
            return
        reach(CrashPoint.RELAY_TAKEN)
        await self._waker.wake(rows, published_at=self._published_at)


def bundle(rows: Sequence[Due]) -> list[list[Due]]:
    """Put rows of one queue together; one that lost a lease stays alone (protocol rule R11)."""
    bundles: list[list[Due]] = [[row] for row in rows if row.is_suspect]
    of_queue: defaultdict[str, list[Due]] = defaultdict(list)
    for row in rows:
        if not row.is_suspect:
            of_queue[row.queue].append(row)
    for waiting in of_queue.values():
        bundles.extend(
            waiting[first : first + MAX_BUNDLE] for first in range(0, len(waiting), MAX_BUNDLE)
        )
    return bundles
