"""Directory: which jobs are registered, and in which queue, remembered for a moment."""

from collections.abc import Iterable

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import list_jobs
from program_service.bookkeeping.shared import Shared

STALE_S = 1.0
"""After how long everything is read again, so that a job's new queue becomes known."""


class JobDirectory:
    """The registered jobs, as {name: queue}, read again when a name is missing or it is old."""

    def __init__(self, database: Database) -> None:
        """Begin without knowing any job."""
        self._database = database
        self._queues: dict[str, str] = {}
        self._shared = Shared(self._read, keep_s=STALE_S)

    async def queues(self, names: Iterable[str]) -> dict[str, str]:
        """Return {job: queue} of those that are registered."""
        wanted = set(names)
        found = await self._shared.recent(lambda known: wanted <= known.keys())
        return {name: found[name] for name in wanted if name in found}

    async def _read(self) -> dict[str, str]:
        jobs = await self._database.read(list_jobs)
        self._queues = {job.name: job.queue for job in jobs}
        return self._queues

    @property
    def names(self) -> Iterable[str]:
        """The names that are known by now."""
        return self._queues.keys()
