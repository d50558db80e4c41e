"""Outcomes: write what came of notifications, as it comes."""

from collections.abc import Sequence

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.halves import write_by_halves
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
        batch, locked = self._told[:PAGE], list[Told]()

        async def mark(told: Sequence[Told]) -> None:
            locked.extend(await self._database.transact_past_outages(PATIENCE_S, mark_told, told))

        await write_by_halves(mark, batch, leave_out=_drop)
        self._told = [*self._told[len(batch) :], *locked]


def _drop(told: Told, error: BookkeepingError) -> None:
    run_id = told.claim.untold.run_id
    log.error(Event.NOTIFY_REFUSED, run_id=run_id, error_message=str(error))
