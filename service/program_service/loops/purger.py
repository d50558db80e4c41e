"""Purger: delete programs that ended, and counts, longer ago than people want to keep them.

It runs in every service process; an advisory lock lets one of them purge at a time. Batches are
small and paused between, so that those who work do not notice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypedDict

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    RowLocked,
    StatementRejected,
)
from program_service.bookkeeping.halves import is_of_some_rows
from program_service.bookkeeping.ledger.api_keys import forget_old_keys
from program_service.bookkeeping.ledger.auditing import forget_entries
from program_service.bookkeeping.ledger.purging import (
    find_old,
    forget_counts,
    forget_keys,
    purge,
)
from program_service.bookkeeping.ledger.sessions import forget_sessions
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

LOCKED_FOR_S = 60.0
REFUSED_FOR_S = 3_600.0
"""How long a program is left out that could not be deleted: to find it again takes ten tries."""
MOST_LEFT_OUT = 5_000


class _Terms(TypedDict):
    older_than: timedelta
    limit: int
    without: Sequence[int]


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long counts, the audit trail and silent sessions are kept."""

    rollup_days: float
    audit_days: float
    session_idle_s: float


class Purger:
    """Purge the tables every now and then."""

    name = "purger"

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        *,
        retention_days: float | None,
        keeping: Keeping,
    ) -> None:
        """Take how long ended programs are kept, None is for ever, and how long all else."""
        self._database = database
        self._keeping = keeping
        self._metrics = metrics
        self._older_than = None if retention_days is None else timedelta(days=retention_days)
        self._looked_to = ""
        self._until: dict[int, float] = {}
        """{id of a program that is left out: until which monotonic time}"""

    async def run(self) -> None:
        """Take turns until cancelled."""
        await take_turns(self._turn, every_s=TURN_EVERY_S, within_s=TURN_WITHIN_S)

    async def _turn(self) -> None:
        """Purge what is too old by now, unless another process does."""
        async with self._database.alone("purge") as is_alone:
            if not is_alone:
                return
            # people delete programs by hand, whatever the retention
            for part in (
                self._forget_counts,
                self._forget_keys,
                self._forget_sessions,
                self._forget_entries,
                self._purge,
            ):
                try:
                    await part()
                except (BatchRefused, RowLocked, StatementRejected) as error:
                    words = str(error)
                    log.warning(Event.PURGE_HELD_UP, run_id=None, error_message=words)

    async def _forget_counts(self) -> None:
        older_than = timedelta(days=self._keeping.rollup_days)
        await self._database.transact_past_outages(PATIENCE_S, forget_counts, older_than=older_than)

    async def _forget_keys(self) -> None:
        """Look at the next few keys: going through all of them takes many turns."""
        looked_to = await self._database.transact(forget_keys, after=self._looked_to, limit=BATCH)
        self._looked_to = looked_to or ""

    async def _forget_sessions(self) -> None:
        """Forget sessions that have ended, and keys that were revoked long ago."""
        transact, idle_s = self._database.transact, self._keeping.session_idle_s
        await transact(forget_old_keys, limit=BATCH)
        await _in_batches(partial(transact, forget_sessions, idle_s=idle_s, limit=BATCH))

    async def _forget_entries(self) -> None:
        transact, older_than = self._database.transact, timedelta(days=self._keeping.audit_days)
        await _in_batches(partial(transact, forget_entries, older_than=older_than, limit=BATCH))

    async def _purge(self) -> None:
        if self._older_than is None:
            return
        total, limit = 0, BATCH
        for _ in range(BATCHES):
            purged = await self._purge_batch(self._older_than, limit)
            if purged is None:  # find by halves which program is not to be deleted
                limit = limit // 2 or BATCH
                continue
            total += purged
            if purged < limit:
                break
            await asyncio.sleep(PAUSE_S)
        if total:
            log.info(Event.PROGRAMS_PURGED, programs=total)

    async def _purge_batch(self, older_than: timedelta, limit: int) -> int | None:
        """Delete some programs, and return how many; None if one of them is held or refused.

        One alone is left out from then on, for a while: a table of the user's may refer to it, or
        somebody has locked an attempt.
        """
        terms: _Terms = {"older_than": older_than, "limit": limit, "without": self._left_out()}
        try:
            purged = await self._database.transact_past_outages(PATIENCE_S, purge, **terms)
        except (BatchRefused, DatabaseUnavailable) as error:
            if not is_of_some_rows(error):
                raise
            if limit == 1:
                await self._leave_out(error, terms)
            return None
        self._metrics.purged.inc(purged)
        return purged

    async def _leave_out(self, error: BookkeepingError, terms: "_Terms") -> None:
        for row in await self._database.transact(find_old, **terms):
            seconds = LOCKED_FOR_S if isinstance(error, RowLocked) else REFUSED_FOR_S
            self._until[row.id] = time.monotonic() + seconds
            log.warning(Event.PURGE_HELD_UP, run_id=row.run_id, error_message=str(error))

    def _left_out(self) -> list[int]:
        """Return the ids of programs that are not to be deleted now."""
        now = time.monotonic()
        kept = [(of_id, until) for of_id, until in self._until.items() if until > now]
        self._until = dict(kept[-MOST_LEFT_OUT:])
        return list(self._until)


async def _in_batches(delete: Callable[[], Awaitable[int]]) -> None:
    """Delete batch after batch, as many as a turn may, until one is not full."""
    for _ in range(BATCHES):
        if await delete() < BATCH:
            break
        await asyncio.sleep(PAUSE_S)
