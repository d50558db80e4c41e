"""Lease: renew what is being executed, and stop what is not ours any more.

A lease's deadline is the worker's own monotonic time before it sent the claim or the renewal, plus
the lease, less a margin; past it the worker starts no step and stops what runs (protocol rule R7).
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.halves import write_by_halves
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.lifecycle import Claimed
from program_service.logs import log
from program_service.loops.turns import turn
from program_service.telemetry import Event, Metrics

if TYPE_CHECKING:
    from program_workers.job_log import Lines

MARGIN = 0.1
"""The part of a lease that a worker does not use, so that clocks may drift and packets travel."""

TICKS = 6
"""Looks at the deadlines in the time of one lease; at every second one, leases are renewed."""


class StopReason(Enum):
    """Why a step is stopped from outside."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    SHUTDOWN = "shutdown"


class Held:
    """A program under our lease, and the handle to stop its running step."""

    def __init__(self, program: Claimed, deadline: float) -> None:
        """Hold a program until `deadline`, a reading of `time.monotonic()`."""
        self.program = program
        self.hold = Hold(program.id, program.lease)
        self.deadline = deadline
        self.stop_reason: StopReason | None = None
        self.is_stopped = False
        """What threads look at, which cannot be cancelled."""
        self.is_abandoned = False
        """Whether its task was cancelled, because its thread does not end."""
        self.has_blocked = False
        self.lines: Lines | None = None
        """What the running step logs."""
        self._scope: asyncio.Timeout | None = None
        self.task = asyncio.current_task()

    @property
    def run_id(self) -> str:
        """The program's id."""
        return self.program.run_id

    @property
    def is_valid(self) -> bool:
        """Whether a step may be started."""
        return self.stop_reason is None and time.monotonic() < self.deadline

    def stop(self, reason: StopReason) -> None:
        """Stop the running step now, and start no other; the first reason stands."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self.is_stopped = True
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def abandon(self) -> None:
        """Stop waiting for a thread that does not end."""
        self.is_abandoned = True
        if self.task is not None:
            self.task.cancel()

    @contextmanager
    def stopping(self, scope: asyncio.Timeout) -> Iterator[None]:
        """Let `stop` end this scope, by moving its deadline to now."""
        self._scope = scope
        if self.stop_reason is not None:
            self.stop(self.stop_reason)
        try:
            yield
        finally:
            self._scope = None


class LeaseKeeper:
    """Renew the leases of everything that this worker executes."""

    name = "leases"

    def __init__(self, database: Database, metrics: Metrics, *, lease_s: float) -> None:
        """Take what it needs; nothing is held yet."""
        # a connection that nobody else takes: neither jobs nor reads keep leases from renewal
        self._database = database.reserved()
        self._metrics = metrics
        self.lease_s = lease_s
        self._held: dict[Hold, Held] = {}
        self._overdue: set[Hold] = set()

    def deadline_from(self, sent_at: float) -> float:
        """Return the deadline of a lease whose claim or renewal was sent at this monotonic time."""
        return sent_at + self.lease_s * (1 - MARGIN)

    @contextmanager
    def holding(self, program: Claimed, deadline: float) -> Iterator[Held]:
        """Keep the lease of a program while its steps run."""
        held = Held(program, deadline)
        self._held[held.hold] = held
        try:
            yield held
        finally:
            del self._held[held.hold]
            self._overdue.discard(held.hold)

    def stop_all(self, reason: StopReason) -> None:
        """Stop everything."""
        for held in self._held.values():
            held.stop(reason)

    @property
    def held(self) -> list[Held]:
        """Everything that is executed now."""
        return list(self._held.values())

    async def run(self) -> None:
        """Renew until cancelled."""
        for tick in count(1):
            await asyncio.sleep(self.lease_s / TICKS)
            async with turn():
                self._stop_lapsed()
                asked = list(self._held if tick % 2 == 0 else self._overdue)
                if asked:
                    await self._renew(asked)

    def _stop_lapsed(self) -> None:
        for held in self._held.values():
            self.check(held)

    def check(self, held: Held) -> None:
        """Count a lease as lost if its time is over: the loop may have stood still meanwhile."""
        if held.stop_reason is None and time.monotonic() >= held.deadline:
            self._lose(held, "it was not renewed in time")

    async def _renew(self, asked: list[Hold]) -> None:
        """Renew exactly these leases (protocol rule R3); those that are not are asked for soon."""
        patience_s = self.lease_s / TICKS
        self._overdue.update(asked)
        try:
            async with asyncio.timeout(patience_s):
                await write_by_halves(self._renew_these, asked, leave_out=self._leave_out)
        except (BookkeepingError, TimeoutError) as error:
            words = str(error) or f"no answer within {patience_s:.1f} s"
            log.warning(Event.DATABASE_UNAVAILABLE, during="renew", error_message=words)
        self._overdue &= self._held.keys()

    async def _renew_these(self, asked: Sequence[Hold]) -> None:
        sent_at = time.monotonic()
        renewals = await self._database.transact_past_outages(
            self.lease_s / TICKS, renew, asked, lease_s=self.lease_s
        )
        for hold, renewal in renewals.items():
            held = self._held.get(hold)
            if held is not None:
                self._settle(held, renewal, sent_at=sent_at)

    def _leave_out(self, hold: Hold, error: BookkeepingError) -> None:
        """Ask again soon for a lease that the database refuses to have renewed; it may lapse."""
        if (held := self._held.get(hold)) is not None:
            self._database.complaints.note_refused("renew", held.run_id, error)

    def _settle(self, held: Held, renewal: Renewal, *, sent_at: float) -> None:
        """Note what became of a lease."""
        match renewal:
            case Renewal.LOCKED:
                seconds, complaints = self.lease_s / TICKS, self._database.complaints
                complaints.note_locked("renew", held.run_id, seconds=seconds)
                return
            case Renewal.RENEWED:
                held.deadline = self.deadline_from(sent_at)
            case Renewal.LOST if held.stop_reason is None:
                self._lose(held, "the program ended, or another worker claimed it")
        self._overdue.discard(held.hold)

    def _lose(self, held: Held, why: str) -> None:
        self._metrics.leases_lost.inc()
        log.info(Event.LEASE_LOST, run_id=held.run_id, reason=why)
        held.stop(StopReason.LEASE_LOST)
