"""Directory: which jobs are registered, and in which queue, remembered for a moment."""

import asyncio
import time
from collections.abc import Iterable

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import list_jobs

STALE_S = 15.0
"""After how long everything is read again, so that a job's new queue becomes known."""


class JobDirectory:
    """The registered jobs, as {name: queue}, read again when a name is missing or it is old."""

    def __init__(self, database: Database) -> None:
        """Begin without knowing any job."""
        self._database = database
        self._queues: dict[str, str] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._coming: asyncio.Task[None] | None = None

    async def queues(self, names: Iterable[str]) -> dict[str, str]:
        """Return {job: queue} of those that are registered."""
        wanted = set(names)
        age_s = time.monotonic() - self._read_at
        if age_s > STALE_S or not wanted <= self._queues.keys():
            await self._read_together()
        return {name: self._queues[name] for name in wanted if name in self._queues}

    async def _read_together(self) -> None:
        """Wait for a reading that begins from now on; all who wait share it."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._read_after(self._reading))
        # whoever gives up waiting leaves the others theirs
        await asyncio.shield(self._coming)

    async def _read_after(self, previous: "asyncio.Task[None] | None") -> None:
        if previous is not None:
            await asyncio.wait([previous])
        self._reading, self._coming = self._coming, None
        jobs = await self._database.read(list_jobs)
        self._queues = {job.name: job.queue for job in jobs}
        self._read_at = time.monotonic()

    @property
    def names(self) -> Iterable[str]:
        """The names that are known by now."""
        return self._queues.keys()
