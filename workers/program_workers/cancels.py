"""Cancels: look at the rows of programs that a message calls cancelled, and stop those that are.

The message is a hint, and may be late: its program may have been resumed, and run under another
lease. So the row decides (protocol rule R14). When the message or the look is lost, the renewal of
leases finds out.
"""

import asyncio

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.renewing import Hold, still_open
from program_service.loops.turns import turn
from program_service.wakeups.broker import Cancelled
from program_workers.lease import LeaseKeeper, StopReason

PAUSE_S = 0.05
"""Between two looks, so that a flood of messages costs the database twenty small reads a second."""


class Cancels:
    """Stop the steps of programs that were cancelled."""

    name = "cancels"

    def __init__(self, database: Database, keeper: LeaseKeeper) -> None:
        """Take where rows are, and what is being executed."""
        self._database = database
        self._keeper = keeper
        self._heard: set[Cancelled] = set()
        self._has_heard = asyncio.Event()

    def hear(self, cancelled: Cancelled) -> None:
        """Look soon at what is executed under the lease that was cancelled."""
        self._heard.add(cancelled)
        self._has_heard.set()

    async def run(self) -> None:
        """Look at rows as they are doubted, many at a time."""
        while True:
            await self._has_heard.wait()
            self._has_heard.clear()
            async with turn():
                await self._look()
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> None:
        doubted = self._doubted()
        if not doubted:
            return
        still = await self._database.read(still_open, sorted(doubted, key=lambda hold: hold.id))
        for held in self._keeper.held:
            if held.hold in doubted - still:
                held.stop(StopReason.CANCELLED)

    def _doubted(self) -> set[Hold]:
        """Take what was heard, and return what is executed of it.

        An older service does not say the lease; then all of the program's are doubted.
        """
        heard, self._heard = self._heard, set()
        return {
            held.hold
            for held in self._keeper.held
            if not heard.isdisjoint(
                {Cancelled(held.run_id, held.hold.lease), Cancelled(held.run_id)}
            )
        }
