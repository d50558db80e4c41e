"""Purger: delete programs that ended, and counts, longer ago than people want to keep them.

It runs in every service process; an advisory lock lets one of them purge at a time. Batches are
small and paused between, so that those who work do not notice.
"""

import asyncio
from datetime import timedelta

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.purging import forget_counts, forget_keys, purge
from program_service.logs import log
from program_service.loops.turns import take_turns
from program_service.telemetry import Event, Metrics

TURN_EVERY_S = 60.0
TURN_WITHIN_S = 600.0
BATCH = 500
BATCHES = 500
"""In one turn at most; the next turn continues."""
PAUSE_S = 0.1
"""Between batches: some thousand programs a second at most, more than a service finishes."""


class Purger:
    """Purge the tables every now and then."""

    name = "purger"

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        *,
        retention_days: float | None,
        rollup_days: float,
    ) -> None:
        """Take how long ended programs are kept, None is for ever, and how long counts."""
        self._database = database
        self._metrics = metrics
        self._older_than = None if retention_days is None else timedelta(days=retention_days)
        self._counts_older_than = timedelta(days=rollup_days)
        self._looked_to = ""

    async def run(self) -> None:
        """Take turns until cancelled."""
        await take_turns(self._turn, every_s=TURN_EVERY_S, within_s=TURN_WITHIN_S)

    async def _turn(self) -> None:
        """Purge what is too old by now, unless another process does."""
        async with self._database.alone("purge") as is_alone:
            if is_alone:
                await self._database.transact(forget_counts, older_than=self._counts_older_than)
                await self._forget_keys()  # people delete programs by hand, whatever the retention
            if is_alone and self._older_than is not None:
                await self._purge(self._older_than)

    async def _purge(self, older_than: timedelta) -> None:
        total = 0
        for _ in range(BATCHES):
            purged = await self._database.transact(purge, older_than=older_than, limit=BATCH)
            self._metrics.purged.inc(purged)
            total += purged
            if purged < BATCH:
                break
            await asyncio.sleep(PAUSE_S)
        if total:
            log.info(Event.PROGRAMS_PURGED, programs=total)

    async def _forget_keys(self) -> None:
        """Look at the next few keys: going through all of them takes many turns."""
        looked_to = await self._database.transact(forget_keys, after=self._looked_to, limit=BATCH)
        self._looked_to = looked_to or ""
