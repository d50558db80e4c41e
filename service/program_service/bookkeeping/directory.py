"""Directory: which jobs are registered, and in which queue, remembered for a moment."""

import asyncio
import time
from collections.abc import Iterable

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import list_jobs

STALE_S = 1.0
"""After how long everything is read again, so that a job's new queue becomes known."""


class JobDirectory:
    """The registered jobs, as {name: queue}, read again when a name is missing or it is old."""

    def __init__(self, database: Database) -> None:
        """Begin without knowing any job."""
        self._database = database
        self._queues: dict[str, str] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def queues(self, names: Iterable[str]) -> dict[str, str]:
        """Return {job: queue} of those that are registered."""
        wanted = set(names)
        age_s = time.monotonic() - self._read_at
        if age_s > STALE_S or not wanted <= self._queues.keys():
            await self._read_together()
        return {name: self._queues[name] for name in wanted if name in self._queues}

    async def _read_together(self) -> None:
        """Wait for a reading that began after this call; all who wait share it."""
        asked_at = time.monotonic()
        async with self._reading:
            if self._read_at >= asked_at:
                return
            await asyncio.sleep(0)  # all who ask in this turn of the event loop share the reading
            began_at = time.monotonic()
            jobs = await self._database.read(list_jobs)
            self._queues = {job.name: job.queue for job in jobs}
            self._read_at = began_at

    @property
    def names(self) -> Iterable[str]:
        """The names that are known by now."""
        return self._queues.keys()
