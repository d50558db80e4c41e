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
        self._tried_at = float("-inf")
        """When the last reading began that has ended, well or not."""
        self._failure: Exception | None = None
        """What that reading failed of."""

    async def queues(self, names: Iterable[str]) -> dict[str, str]:
        """Return {job: queue} of those that are registered."""
        wanted = set(names)
        age_s = time.monotonic() - self._read_at
        if age_s > STALE_S or not wanted <= self._queues.keys():
            await self._read_together()
        return {name: self._queues[name] for name in wanted if name in self._queues}

    async def _read_together(self) -> None:
        """Wait for a reading that began after this call; all who wait share it, also its failure.

        One of them reads. If that one gives up, the next one does.
        """
        asked_at = time.monotonic()
        async with self._reading:
            if self._tried_at < asked_at:
                await self._read()
            if self._failure is not None:
                raise self._failure

    async def _read(self) -> None:
        await asyncio.sleep(0)  # all who ask in this turn of the event loop share the reading
        began_at, self._failure = time.monotonic(), None
        try:
            jobs = await self._database.read(list_jobs)
        except Exception as error:  # noqa: BLE001 - it is raised for each who waits
            self._failure = error
        else:
            self._queues = {job.name: job.queue for job in jobs}
            self._read_at = began_at
        self._tried_at = began_at

    @property
    def names(self) -> Iterable[str]:
        """The names that are known by now."""
        return self._queues.keys()
