"""Outcomes: write what came of notifications, as it comes."""

from collections.abc import Sequence

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import BatchRefused, DatabaseUnavailable
from program_service.bookkeeping.halves import is_of_one_item
from program_service.bookkeeping.ledger.notifying import Told, mark_told
from program_service.logs import log
from program_service.telemetry import Event

PAGE = 500


class Outcomes:
    """Outcomes that are not written yet: new ones, and those whose rows others have locked."""

    def __init__(self, database: Database) -> None:
        """Begin with none."""
        self._database = database
        self._told: list[Told] = []

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._told)

    def add(self, told: Told) -> None:
        """Write an outcome soon."""
        self._told.append(told)

    async def write(self) -> None:
        """Write outcomes; those whose rows are locked are kept for the next time.

        Raises:
            DatabaseUnavailable: the database does not answer; all are kept.
        """
        batch = self._told[:PAGE]
        if batch:
            locked = await self._write_by_halves(batch)
            self._told = [*self._told[len(batch) :], *locked]

    async def _write_by_halves(self, told: Sequence[Told]) -> list[Told]:
        """Write a batch; drop an outcome that the database refuses, and write all others."""
        try:
            return await self._database.transact_past_outages(PATIENCE_S, mark_told, told)
        except (BatchRefused, DatabaseUnavailable) as error:
            if not is_of_one_item(error):
                raise
            if len(told) == 1:
                run_id = told[0].claim.untold.run_id
                log.error(Event.NOTIFY_REFUSED, run_id=run_id, error_message=str(error))
                return []
        middle = len(told) // 2
        return [
            *await self._write_by_halves(told[:middle]),
            *await self._write_by_halves(told[middle:]),
        ]
