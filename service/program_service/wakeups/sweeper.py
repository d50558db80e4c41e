"""Sweeper: wake for what is due and was not woken for, and again for what may have been lost.

It runs in every service process; an advisory lock lets one of them sweep at a time. It holds no row
lock while it publishes (protocol rules R5 and R6).
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.waking import (
    Due,
    DuePage,
    Silence,
    find_due,
    find_moved,
    find_unanswered,
    queues_with_unanswered,
)
from program_service.bookkeeping.ledger.workers import Worker, list_workers
from program_service.crashpoints import CrashPoint, reach
from program_service.logs import log
from program_service.loops.turns import take_turns
from program_service.settings import Settings
from program_service.telemetry import Event
from program_service.wakeups.broker import Depths
from program_service.wakeups.relay import Waker

PAGE = 1_000
"""Rows that one query of the sweeper reads; also the most that is woken again in one turn."""

PAGES = 200
"""Pages of due rows in one turn at most; the next turn continues."""

TURN_WITHIN_S = 300.0
"""200,000 due rows take about a minute."""

LOOK_FOR_MOVED_EVERY_S = 10.0
"""Jobs rarely move to another queue, and workers that learn of it move most programs at once."""


class Sweeper:
    """Sweep the table every now and then."""

    name = "sweeper"

    def __init__(
        self, database: Database, depths: Depths, waker: Waker, *, settings: Settings
    ) -> None:
        """Take what it needs."""
        self._database = database
        self._depths = depths
        self._waker = waker
        self._settings = settings
        self._looked_for_moved_at = float("-inf")
        self._unmarked: dict[tuple[int, datetime], float] = {}
        """{(id, due_at): the monotonic time from which on it is woken again}"""

    async def run(self) -> None:
        """Sweep until cancelled."""
        interval_s = self._settings.sweep_interval_s
        await take_turns(self.sweep, every_s=interval_s, within_s=TURN_WITHIN_S)

    async def sweep(self) -> None:
        """Sweep once, unless another process does."""
        async with self._database.alone("sweep") as is_alone:
            if not is_alone:
                return
            beat_s = self._settings.worker_beat_s
            workers = await self._database.read(list_workers, beat_s=beat_s)
            jobs = sorted({job for worker in workers for job in worker.jobs})
            if jobs:
                await self._wake_due(jobs)
                await self._wake_moved(jobs)
                await self._wake_again(workers, jobs)

    async def _wake_due(self, jobs: list[str]) -> None:
        """Wake for all that is due; jobs whose queue does not confirm have to wait for a turn.

        A row that cannot be marked stays where it is, and is passed by, so that it is not found
        again and again: somebody has locked it, perhaps for long.
        """
        since: datetime | None = None
        for _ in range(PAGES):
            page = await self._database.read(find_due, jobs=jobs, since=since, limit=PAGE)
            rows = self._to_be_woken(page)
            if rows:
                reach(CrashPoint.SWEEP_DUE)
                jobs = await self._wake(rows, page, jobs)
            if len(page.rows) < PAGE:
                return
            last = page.rows[-1].due_at
            since = last if rows else last + timedelta(microseconds=1)
            await self._database.stay_alone()

    def _to_be_woken(self, page: DuePage) -> list[Due]:
        """Return the rows of a page, but those that were woken lately and could not be marked."""
        now = time.monotonic()
        self._unmarked = {row: until for row, until in self._unmarked.items() if until > now}
        return [row for row in page.rows if (row.id, row.due_at) not in self._unmarked]

    async def _wake(self, rows: list[Due], page: DuePage, jobs: list[str]) -> list[str]:
        """Wake for rows of a page; return the jobs, but those whose queues did not confirm it."""
        woken = await self._waker.wake(rows, published_at=page.read_at)
        until = time.monotonic() + self._settings.wake_again_s
        self._unmarked |= {(row.id, row.due_at): until for row in woken.unmarked}
        return await self._without(woken.left, jobs) if woken.left else jobs

    async def _without(self, left: Sequence[Due], jobs: list[str]) -> list[str]:
        """Return the jobs besides those of these rows, and those of the same queues."""
        sick, stuck = {row.queue for row in left}, {row.job for row in left}
        queues = await self._waker.queues_of(jobs)
        return [job for job in jobs if job not in stuck and queues.get(job) not in sick]

    async def _wake_moved(self, jobs: list[str]) -> None:
        """Wake again, where their job is now, the rows that were woken in its former queue."""
        if time.monotonic() - self._looked_for_moved_at < LOOK_FOR_MOVED_EVERY_S:
            return
        for _ in range(PAGES):
            queues = await self._waker.queues_of(jobs)
            page = await self._database.read(find_moved, queues, limit=PAGE)
            rows = self._to_be_woken(page)
            if not rows:
                break
            jobs = await self._wake(rows, page, jobs)
            await self._database.stay_alone()
        self._looked_for_moved_at = time.monotonic()

    async def _wake_again(self, workers: list[Worker], jobs: list[str]) -> None:
        silence_s = self._settings.wake_again_s
        for queue in await self._database.read(queues_with_unanswered, silence_s=silence_s):
            depth = await self._depths.depth(queue)
            claimed = [worker.newest_wakeups.get(queue) for worker in workers]
            newest = max((moment for moment in claimed if moment), default=None)
            if depth is None or (depth > 0 and newest is None):
                continue
            silence = Silence(queue, silence_s, since=newest if depth > 0 else None)
            page = await self._database.read(find_unanswered, silence, jobs=jobs, limit=PAGE)
            if rows := self._to_be_woken(page):
                reach(CrashPoint.SWEEP_UNANSWERED)
                log.info(Event.WAKEUP_AGAIN, queue=queue, programs=len(rows))
                await self._wake(rows, page, jobs)
