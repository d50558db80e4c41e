"""Migration: bring the tables up to date when the service starts, once the database answers."""

import asyncio
from typing import NoReturn

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotAdoptable
from program_service.bookkeeping.migrations import migrate
from program_service.logs import log
from program_service.loops.turns import is_set_within
from program_service.telemetry import Event


class Migration:
    """The migration at the start of a service, as a loop: it is tried again until it is done."""

    name = "migration"

    def __init__(self, database: Database) -> None:
        """Migrate this database."""
        self._database = database
        self._is_settled = asyncio.Event()
        self._refusal: NotAdoptable | None = None

    async def is_settled_within(self, seconds: float) -> bool:
        """Wait for at most this long; return whether the tables are up to date.

        Raises:
            NotAdoptable: a table of the program table's name is there, and it is not ours.
        """
        is_settled = await is_set_within(self._is_settled, seconds)
        if self._refusal is not None:
            raise self._refusal
        return is_settled

    async def run(self) -> NoReturn:
        """Migrate, unless that is done; then wait to be cancelled.

        Raises:
            DatabaseUnavailable: the database does not answer.
            NotAdoptable: the table is not ours; it is not tried again.
        """
        if not self._is_settled.is_set():
            try:
                await migrate(self._database)
            except NotAdoptable as error:
                self._refusal = error
                self._is_settled.set()
                raise
            else:
                log.info(Event.DATABASE_MIGRATED)
            self._is_settled.set()
        await asyncio.Event().wait()
        raise AssertionError
