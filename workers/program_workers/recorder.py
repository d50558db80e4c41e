"""Recorder: outcomes and job data, committed in groups; what is finished is never dropped.

While the database is away, what jobs have done waits here and is recorded when it is back, without
running a step again. What is held up for a reason of its own, because somebody has locked its row
for example, is set aside and tried again by itself; the rest of its batch goes ahead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    JobDataTooLarge,
    RowLocked,
    Stopping,
)
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.claiming import (
    Answer,
    Claim,
    Claimant,
    claim,
    claim_at_once,
    claim_unlocked,
)
from program_service.bookkeeping.ledger.job_data import (
    Changed,
    JobDataEdit,
    change_job_data,
    change_job_data_unlocked,
)
from program_service.bookkeeping.ledger.recording import (
    RecordAnswer,
    Recorded,
    StepRecord,
    record,
    record_at_once,
    record_unlocked,
)
from program_service.bookkeeping.ledger.rows import ClaimedRow
from program_service.bookkeeping.ledger.setting_aside import SetAside, set_aside, set_aside_alone
from program_service.bookkeeping.lifecycle import Claimed, Failure, Json
from program_service.bookkeeping.patience import Patience
from program_service.bookkeeping.suspects import is_suspect
from program_service.telemetry import Metrics
from program_workers.room import Room

T = TypeVar("T", bound=Claim | StepRecord | JobDataEdit)
R = TypeVar("R")

OUTCOMES = 250
"""In one batch: what 500 slots come to fills two."""

CLAIM_PATIENCE_S = 3.0
FOR_EVER_S = float("inf")
ASIDE_PAUSE_S = 5.0
"""The longest pause before what was set aside is tried again; the first is 0.05 s."""


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
        self._suspects: dict[str, int] = {}
        # while the database writes one batch, the steps of the other run: 5 % more programs
        lanes = 2 if database.commits_statements else 1
        self.claims: GroupCommit[Claim, Answer] = GroupCommit(self._claim, name="claims")
        self.outcomes: GroupCommit[StepRecord, Recorded | None] = GroupCommit(
            self._record, name="outcomes", limit=OUTCOMES, lanes=lanes
        )
        self.job_data: GroupCommit[JobDataEdit, dict[str, Json] | None] = GroupCommit(
            self._edit, name="job_data"
        )
        # one at a time: those that are free take no connection away from those in groups
        self._aside = asyncio.Lock()

    async def record(self, step: StepRecord) -> Recorded | None:
        """Write what became of a step, however long that takes; None when its lease was lost.

        Raises:
            BatchRefused: the database does not take it.
            JobDataTooLarge: with what the job has returned its job data would be too long.
            Stopping: this process stops.
        """
        try:
            return await self.outcomes.add(step)
        except Stopping:
            raise
        except DatabaseUnavailable:
            write = partial(
                self._database.transact_past_outages, FOR_EVER_S, record_unlocked, [step]
            )
            return await self._by_itself(write, step.program, within_s=FOR_EVER_S)

    async def edit_job_data(self, edit: JobDataEdit) -> dict[str, Json] | None:
        """Change the job data of a running job; None when its lease was lost.

        Raises:
            BatchRefused: the database does not take them.
            JobDataTooLarge: they would be too long.
            DatabaseUnavailable: it did not write them for as long as a lease lasts.
        """
        try:
            return await self.job_data.add(edit)
        except Stopping:
            raise
        except DatabaseUnavailable:
            within_s = self._claimant.lease_s
            write = partial(
                self._database.transact_past_outages, within_s, change_job_data_unlocked, [edit]
            )
            return await self._by_itself(write, edit.program, within_s=within_s)

    def free_place(self, program: Claimed) -> None:
        """Let another suspect in: the step of this one is recorded (protocol rule R11)."""
        self._suspects.pop(program.lease, None)

    async def _claim(self, claims: Sequence[Claim]) -> Sequence[Answer | RowLocked]:
        with self._room.offering(len(claims)) as offer:
            ours = self._claimant
            if offer.jobs:
                ours = replace(ours, jobs=offer.open_jobs, ration=offer)
            answers = await self._claim_as(ours, claims)
        # before the next batch is claimed, which may not have as many, and finds less room
        for each in answers:
            if isinstance(each, Claimed):
                self._room.book(each)
                if is_suspect(each.lease_losses):
                    self._suspects[each.lease] = each.lease_losses
        return answers

    async def _claim_as(
        self, claimant: Claimant, claims: Sequence[Claim]
    ) -> Sequence[Answer | RowLocked]:
        transact = partial(self._database.transact_past_outages, CLAIM_PATIENCE_S)
        suspects = list(self._suspects.values())
        return await self._in_steps(
            "claim",
            claims,
            at_once=partial(transact, claim_at_once, claimant=claimant),
            whole=partial(transact, claim, claimant=claimant, suspects=suspects),
            unlocked=partial(transact, claim_unlocked, claimant=claimant, suspects=suspects),
        )

    async def _record(self, records: Sequence[StepRecord]) -> Sequence[RecordAnswer | RowLocked]:
        transact = partial(self._database.transact_past_outages, FOR_EVER_S)
        return await self._in_steps(
            "record",
            records,
            at_once=partial(transact, record_at_once),
            whole=partial(transact, record),
            unlocked=partial(transact, record_unlocked),
        )

    async def _edit(self, edits: Sequence[JobDataEdit]) -> Sequence[Changed | RowLocked]:
        # as long as the lease may last: past it the edit would be refused anyway
        transact = partial(self._database.transact_past_outages, self._claimant.lease_s)
        whole = partial(transact, change_job_data)
        data: Sequence[Changed | RowLocked]
        with self._measuring("job_data", edits):
            try:
                data = await whole(edits)
            except RowLocked:
                data = await _unless_locked(partial(transact, change_job_data_unlocked), edits)
        return data

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

    async def _in_steps(
        self,
        op: str,
        batch: Sequence[T],
        *,
        at_once: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        whole: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        unlocked: Callable[[Sequence[T]], Awaitable[Sequence[R | RowLocked]]],
    ) -> Sequence[R | RowLocked]:
        """Do in one statement what can be done so, and the rest in a transaction.

        Where that has waited in vain for a row, do it without those that are locked.
        """
        done: Sequence[R | None] = [None] * len(batch)
        left, rest = batch, list[R | RowLocked]()
        try:
            if self._database.commits_statements:
                with self._measuring(op, batch):
                    done = await at_once(batch)
                left = [each for each, answer in zip(batch, done, strict=True) if answer is None]
            if left:
                with self._measuring(op, left):
                    rest = list(await whole(left))
        except RowLocked:
            with self._measuring(op, left):
                rest = list(await _unless_locked(unlocked, left))
        others = iter(rest)
        return [next(others) if answer is None else answer for answer in done]

    async def _by_itself(
        self,
        write: Callable[[], Awaitable[Sequence[R | JobDataTooLarge | RowLocked]]],
        program: Claimed,
        *,
        within_s: float,
    ) -> R:
        """Write what was held up, alone; try again until it succeeds."""
        patience = Patience(within_s, longest_pause_s=ASIDE_PAUSE_S)
        failure: BookkeepingError = RowLocked()
        while await patience.pause():
            try:
                async with self._aside:
                    (answer,) = await write()
            except DatabaseUnavailable as error:
                failure = error
                continue
            if isinstance(answer, JobDataTooLarge):
                raise answer
            if not isinstance(answer, RowLocked):
                return answer
            failure = answer
            seconds, complaints = patience.spent_s, self._database.complaints
            complaints.note_locked("record", program.run_id, seconds=seconds)
        raise failure

    @contextmanager
    def _measuring(self, op: str, batch: Sequence[object]) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._metrics.database_s.labels(op=op).observe(time.perf_counter() - began)
        self._metrics.batch_rows.labels(op=op).observe(len(batch))


async def _unless_locked(
    unlocked: Callable[[Sequence[T]], Awaitable[Sequence[R | RowLocked]]], batch: Sequence[T]
) -> Sequence[R | RowLocked]:
    """Do what can be done without waiting; what is in the way may be no program, but a count."""
    try:
        return await unlocked(batch)
    except RowLocked as error:
        return [error] * len(batch)
