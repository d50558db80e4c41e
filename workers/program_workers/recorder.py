"""Recorder: outcomes and job data, committed in groups; what is finished is never dropped.

While the database is away, what jobs have done waits here and is recorded when it is back, without
running a step again.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.claiming import Claim, Claimant, Missed, claim
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord, record
from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.telemetry import Metrics

T = TypeVar("T")
R = TypeVar("R")

FOR_EVER_S = float("inf")


def is_suspect(program: Claimed) -> bool:
    """Tell a program that lost a lease, perhaps because it kills its workers."""
    return program.lease_losses > 0


class Recorder:
    """A worker's three ways to the ledger, each with group commit."""

    def __init__(self, database: Database, metrics: Metrics, claimant: Claimant) -> None:
        """Take what it needs; each group must `run` while it is used."""
        self._database = database
        self._metrics = metrics
        self._claimant = claimant
        self.suspects = 0
        """How many programs that lost a lease are held by this worker, one at most."""
        self.claims: GroupCommit[Claim, Claimed | Missed] = GroupCommit(self._claim)
        self.outcomes: GroupCommit[StepRecord, Recorded | None] = GroupCommit(self._record)
        self.job_data: GroupCommit[JobDataEdit, dict[str, Json] | None] = GroupCommit(self._edit)

    async def _claim(self, claims: Sequence[Claim]) -> Sequence[Claimed | Missed]:
        async def claim_for_us(books: Books, batch: Sequence[Claim]) -> list[Claimed | Missed]:
            return await claim(books, batch, self._claimant, holds_suspect=self.suspects > 0)

        answers = await self._measured("claim", 3.0, claim_for_us, claims)
        # before the next batch is claimed, which may not have another
        self.suspects += sum(is_suspect(each) for each in answers if isinstance(each, Claimed))
        return answers

    async def _record(self, records: Sequence[StepRecord]) -> Sequence[Recorded | None]:
        return await self._measured("record", FOR_EVER_S, record, records)

    async def _edit(self, edits: Sequence[JobDataEdit]) -> Sequence[dict[str, Json] | None]:
        # as long as the lease may last: past it the edit would be refused anyway
        return await self._measured("job_data", self._claimant.lease_s, change_job_data, edits)

    async def _measured(
        self,
        op: str,
        patience_s: float,
        work: Callable[[Books, Sequence[T]], Awaitable[list[R]]],
        batch: Sequence[T],
    ) -> list[R]:
        began = time.perf_counter()
        results = await self._database.transact_within(patience_s, work, batch)
        self._metrics.database_s.labels(op=op).observe(time.perf_counter() - began)
        self._metrics.batch_rows.labels(op=op).observe(len(batch))
        return results
