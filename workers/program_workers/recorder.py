"""Recorder: outcomes and job data, committed in groups; what is finished is never dropped.

While the database is away, what jobs have done waits here and is recorded when it is back, without
running a step again.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.claiming import (
    Answer,
    Claim,
    Claimant,
    claim,
    claim_at_once,
)
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.recording import (
    Recorded,
    StepRecord,
    record,
    record_at_once,
)
from program_service.bookkeeping.ledger.rows import ClaimedRow
from program_service.bookkeeping.ledger.setting_aside import SetAside, set_aside, set_aside_alone
from program_service.bookkeeping.lifecycle import Claimed, Failure, Json
from program_service.telemetry import Metrics
from program_workers.room import Room

T = TypeVar("T")
R = TypeVar("R")

OUTCOMES = 250
"""In one batch: what 500 slots come to fills two."""

CLAIM_PATIENCE_S = 3.0
FOR_EVER_S = float("inf")


def is_suspect(program: Claimed) -> bool:
    """Tell a program that lost a lease, perhaps because it kills its workers."""
    return program.lease_losses > 0


class Recorder:
    """A worker's three ways to the ledger, each with group commit."""

    def __init__(
        self, database: Database, metrics: Metrics, claimant: Claimant, *, room: Room
    ) -> None:
        """Take what it needs; each group must `run` while it is used."""
        self._database = database
        self._metrics = metrics
        self._claimant = claimant
        self._room = room
        self.suspects = 0
        """How many programs that lost a lease are held by this worker, one at most."""
        # while the database writes one batch, the steps of the other run: 5 % more programs
        lanes = 2 if database.commits_statements else 1
        self.claims: GroupCommit[Claim, Answer] = GroupCommit(self._claim)
        self.outcomes: GroupCommit[StepRecord, Recorded | None] = GroupCommit(
            self._record, limit=OUTCOMES, lanes=lanes
        )
        self.job_data: GroupCommit[JobDataEdit, dict[str, Json] | None] = GroupCommit(self._edit)

    async def _claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        with self._room.offering(len(claims)) as offer:
            ours = self._claimant
            if offer.jobs:
                ours = replace(ours, jobs=offer.open_jobs, ration=offer)
            answers = await self._claim_as(ours, claims)
        claimed = [each for each in answers if isinstance(each, Claimed)]
        # before the next batch is claimed, which may not have another, and finds less room
        self.suspects += sum(map(is_suspect, claimed))
        for program in claimed:
            self._room.book(program)
        return answers

    async def _claim_as(self, claimant: Claimant, claims: Sequence[Claim]) -> Sequence[Answer]:
        transact = partial(self._database.transact_within, CLAIM_PATIENCE_S)
        return await self._in_two_tries(
            "claim",
            claims,
            partial(transact, claim_at_once, claimant=claimant),
            partial(transact, claim, claimant=claimant, holds_suspect=self.suspects > 0),
        )

    async def _record(self, records: Sequence[StepRecord]) -> Sequence[Recorded | None]:
        transact = partial(self._database.transact_within, FOR_EVER_S)
        return await self._in_two_tries(
            "record", records, partial(transact, record_at_once), partial(transact, record)
        )

    async def _edit(self, edits: Sequence[JobDataEdit]) -> Sequence[dict[str, Json] | None]:
        # as long as the lease may last: past it the edit would be refused anyway
        with self._measuring("job_data", edits):
            return await self._database.transact_within(
                self._claimant.lease_s, change_job_data, edits
            )

    async def set_aside(self, program: ClaimedRow, failure: Failure) -> bool:
        """End a program of which nothing can be recorded as usual; say if its lease still held.

        Raises:
            BatchRefused: the database refuses even that.
        """
        named = (program.id, program.run_id, program.lease)
        aside = SetAside(*named, worker=self._claimant.worker, failure=failure)
        try:
            return await self._database.transact_within(FOR_EVER_S, set_aside, aside)
        except BatchRefused:
            return await self._database.transact_within(FOR_EVER_S, set_aside_alone, aside)

    async def _in_two_tries(
        self,
        op: str,
        batch: Sequence[T],
        at_once: Callable[[Sequence[T]], Awaitable[list[R | None]]],
        whole: Callable[[Sequence[T]], Awaitable[list[R]]],
    ) -> list[R]:
        """Do in one statement what can be done so, and the rest in a transaction."""
        done: list[R | None] = [None] * len(batch)
        if self._database.commits_statements:
            with self._measuring(op, batch):
                done = await at_once(batch)
        left = [each for each, answer in zip(batch, done, strict=True) if answer is None]
        rest: list[R] = []
        if left:
            with self._measuring(op, left):
                rest = await whole(left)
        others = iter(rest)
        return [next(others) if answer is None else answer for answer in done]

    @contextmanager
    def _measuring(self, op: str, batch: Sequence[object]) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._metrics.database_s.labels(op=op).observe(time.perf_counter() - began)
        self._metrics.batch_rows.labels(op=op).observe(len(batch))
