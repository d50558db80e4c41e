"""Execution: run the steps of a claimed program in order, each recorded before the next."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.errors import (
    BatchRefused,
    DatabaseUnavailable,
    JobDataTooLarge,
    NotCommitted,
    RowUnreadable,
)
from program_service.bookkeeping.flaws import UNREADABLE, unreadable
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord
from program_service.bookkeeping.ledger.rows import ClaimedRow, Unreadable
from program_service.bookkeeping.ledger.waking import Due
from program_service.bookkeeping.lifecycle import (
    DEFAULT_QUEUE,
    Change,
    Claimed,
    Done,
    Ending,
    Fail,
    Failure,
    Json,
    LetGo,
    Outcome,
    Released,
    RetryLater,
    Terms,
    settle,
    verdict,
)
from program_service.bookkeeping.retry import Retry, draw
from program_service.bookkeeping.step_transaction import (
    StepConnections,
    StepTransaction,
)
from program_service.bookkeeping.veiling import veil_failure, veil_outcome
from program_service.crashpoints import CrashPoint, reach
from program_service.logs import log
from program_service.redaction import Redaction
from program_service.telemetry import Event, Metrics
from program_service.tracing.spans import Kind, Traces
from program_service.wakeups.relay import Relay
from program_workers.callbacks.calls import CallbackJobs
from program_workers.catalogue import Catalogue
from program_workers.context import Step, StepDesk
from program_workers.inprocess import InProcessJobs
from program_workers.job_log import JobLog, bind_step
from program_workers.job_tasks import is_of_a_program
from program_workers.judgement import judge
from program_workers.lease import Held, LeaseKeeper, StopReason
from program_workers.library import Job
from program_workers.observer import Observer, facts_of
from program_workers.recorder import Recorder
from program_workers.repeats import Repeats
from program_workers.room import Room
from program_workers.safety_net import SafetyNet, outcome_of

RunStep: TypeAlias = Callable[[Claimed, Held], Awaitable[Claimed | None]]


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Ran:
    """A step that ran, by readings of `time.monotonic()`."""

    outcome: Outcome
    began: float
    ended: float
    transaction: StepTransaction | None = None
    """What the job did in the database, to be committed with its end."""
    log: list[Json] | None = None
    """The last lines that the job logged."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What an execution works with; made once for a worker."""

    worker: str
    queues: frozenset[str]
    catalogue: Catalogue
    functions: InProcessJobs
    job_log: JobLog
    endpoints: CallbackJobs
    room: Room
    keeper: LeaseKeeper
    recorder: Recorder
    directory: JobDirectory
    relay: Relay
    desk: StepDesk
    connections: StepConnections
    observer: Observer
    metrics: Metrics
    traces: Traces
    redaction: Redaction
    net: SafetyNet


class Execution:
    """Run claimed programs, each in a task of its own."""

    def __init__(self, tools: Tools) -> None:
        """Take the tools."""
        self._tools = tools
        self._repeats = Repeats()
        self._run_step: RunStep = self._step_in_a_span if tools.traces.is_on else self._step

    async def run(self, program: ClaimedRow, deadline: float) -> None:
        """Run a program until it ends, waits, or is not ours any more; whatever goes wrong is its.

        Where not even a failure can be written, its lease is left to lapse.
        """
        is_of_a_program.set(True)  # the task is this program's alone
        structlog.contextvars.bind_contextvars(run_id=program.run_id)
        try:
            with self._tools.net.around("fail", program.run_id):
                if isinstance(program, Unreadable):
                    failure = Failure(unreadable(program.flaw), type=UNREADABLE, code=UNREADABLE)
                    await self._set_aside(program, failure)
                else:
                    await self._run_steps(program, deadline)
        finally:
            structlog.contextvars.clear_contextvars()

    async def _run_steps(self, program: Claimed, deadline: float) -> None:
        tools = self._tools
        try:
            with tools.keeper.holding(program, deadline) as held:
                with tools.net.around("run", program.run_id) as caught:
                    current: Claimed | None = program
                    while current is not None:
                        current = await self._run_step(current, held)
                if caught.error is not None:
                    await self._fail(held, caught.error)
        finally:
            tools.room.leave(program)
            tools.recorder.free_place(program)

    async def _fail(self, held: Held, error: BaseException) -> None:
        """Record what nobody foresaw as the failure of the step that it happened in."""
        now, logged = time.monotonic(), held.lines.end() if held.lines else None
        outcome = outcome_of(error)
        with self._tools.net.around("record", held.run_id) as caught:
            await self._record(held.program, Ran(outcome, now, now, log=logged), held)
        if caught.error is not None and isinstance(outcome, Fail):
            await self._set_aside(held.program, outcome.failure)

    async def _set_aside(self, program: ClaimedRow, failure: Failure) -> None:
        """End a program by its lease alone."""
        failure = veil_failure(failure, _secrets_of(program, self._tools.redaction))
        if await self._tools.recorder.set_aside(program, failure):
            run_id, message = program.run_id, failure.message
            log.error(Event.PROGRAM_SET_ASIDE, run_id=run_id, error_message=message)
            self._tools.metrics.finished.labels("errored").inc()

    async def _step_in_a_span(self, program: Claimed, held: Held) -> Claimed | None:
        name, facts = f"step {program.job}", facts_of(program, self._tools.worker)
        with self._tools.traces.span(Kind.CONSUMER, name, facts, of=program.traceparent):
            return await self._step(program, held)

    async def _step(self, program: Claimed, held: Held) -> Claimed | None:
        """Run one step and record it; return the program if its next step is ours to run."""
        held.program, held.has_blocked = program, False
        async with StepTransaction(self._tools.connections, program) as transaction:
            ran = await self._perform(program, held, transaction)
            is_lost_by_itself = held.has_blocked and held.stop_reason is StopReason.LEASE_LOST
            if is_lost_by_itself and isinstance(ran.outcome, Released):
                return None  # whoever claims it counts the loss; released, it would never end
            outcome = self._repeats.bounded(program, ran.outcome, held)
            if outcome is None:
                return None
            ran.outcome = outcome
            return await self._record(program, ran, held)

    async def _perform(self, program: Claimed, held: Held, transaction: StepTransaction) -> Ran:
        """Run the current step, if it may still be run here."""
        tools, logged, began = self._tools, None, None
        bind_step(program)
        job = tools.catalogue.find(program.job)
        outcome: Outcome | None = verdict(program, job.retry if job else Retry())
        if outcome is None and not held.is_valid:
            outcome = Released()
        if job is None:  # somebody wrote other jobs into the row: another worker knows this one
            outcome = outcome or Released()
        elif outcome is None:
            step = Step(program, held, tools.desk, transaction)
            if isinstance(job, Job):
                held.lines = tools.job_log.begin(program)
                outcome = await tools.functions.run(job, step)
                logged = held.lines.end()
            else:
                step.begin()
                outcome = await tools.endpoints.run(job, step)
            began = step.began
            reach(CrashPoint.STEP_RAN)
            tools.keeper.check(held)  # before anything is recorded or begun (rule R7)
        ended = time.monotonic()
        began = ended if began is None else began
        if transaction.is_open and isinstance(outcome, Done):
            return Ran(outcome, began, ended, transaction, logged)
        if transaction.is_open:
            await transaction.roll_back()
        return Ran(outcome, began, ended, log=logged)

    async def _record(self, program: Claimed, ran: Ran, held: Held) -> Claimed | None:
        """Record what became of a step; return the program if its next step is ours to run."""
        ran = _presentable(ran, program, self._tools.redaction, held.program.job_data)
        change = settle(
            program,
            ran.outcome,
            self._terms(program, ran.outcome, held),
            draw=draw(),
        )
        queue = await self._queue_of(change.job)
        record = StepRecord(
            program, change, queue, self._tools.worker, ran.began, ran.ended, ran.log
        )
        try:
            recorded, change = await self._write(record, ran.transaction)
        except NotCommitted as error:
            assert ran.transaction is not None
            outcome = ran.transaction.passing_outcome(error) or judge(error.__cause__ or error)
            undone = replace(ran, outcome=outcome, transaction=None)
            return await self._record(program, undone, held)
        self._tools.recorder.free_place(program)
        if not isinstance(ran.outcome, Released):
            self._tools.connections.setbacks.forget(program)
        if recorded is None:
            await self._let_go(program, change, ran)
            return None
        if change.is_lease_kept:
            self._tools.room.keep(program, change.job)
        else:
            self._tools.room.leave(program)  # hooks may take long
            reach(CrashPoint.STEP_RELEASED)
        # what is recorded is recorded, whatever its observers do
        with self._tools.net.around("observe", program.run_id):
            if not change.is_lease_kept:
                self._wake_next(program, change, queue, recorded)
            await self._tools.observer.observe(program, change, ran_s=ran.ended - ran.began)
        if not change.is_lease_kept:
            return None
        reach(CrashPoint.STEP_RECORDED)
        return replace(
            program,
            step=change.step,
            step_retry_count=0,
            lease_losses=0,
            job_data=recorded.job_data,
            version=recorded.version,
        )

    def _terms(self, program: Claimed, outcome: Outcome, held: Held) -> Terms:
        """Say on what terms the step is settled."""
        tools, is_next_mine = self._tools, held.stop_reason is None
        following = program.jobs[program.step + 1 : program.step + 2]
        for job in following if is_next_mine and isinstance(outcome, Done) else ():
            is_known = job in tools.catalogue and tools.catalogue.of(job).queue in tools.queues
            # without room it would wait under its lease: released, it can go to another worker
            is_next_mine = is_known and tools.room.book_next(program, job)
        current = tools.catalogue.find(program.job)
        return Terms(current.retry if current else Retry(), is_next_mine=is_next_mine)

    async def abandon(self, held: Held, *, due_in_s: float) -> None:
        """Give back a program whose thread does not end, due when the thread is sure to be gone."""
        now = time.monotonic()
        logged = held.lines.end() if held.lines else None
        with self._tools.net.around("abandon", held.run_id):
            await self._record(held.program, Ran(Released(due_in_s), now, now, log=logged), held)

    async def _queue_of(self, job: str) -> str:
        """Return a job's queue; a program in the wrong one would stay there, so ask until known."""
        if job in self._tools.catalogue:
            return self._tools.catalogue.of(job).queue
        while True:
            try:
                queues = await self._tools.directory.queues([job])
            except DatabaseUnavailable as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="record", error_message=str(error))
                await asyncio.sleep(0.5)
            else:
                return queues.get(job, DEFAULT_QUEUE)

    async def _write(
        self, record: StepRecord, transaction: StepTransaction | None = None
    ) -> tuple[Recorded | None, Change]:
        """Write a record, or, if the database refuses it, just that; return what was written.

        Raises:
            NotCommitted: the job's own transaction was not, and so neither was its record.
        """
        if transaction is not None:
            return await transaction.commit_with(record), record.change
        program, recorder = record.program, self._tools.recorder
        try:
            return await recorder.record(record), record.change
        except (BatchRefused, RowUnreadable) as error:
            log.error(Event.OUTCOME_REFUSED, run_id=program.run_id, error_message=str(error))
            failure, lines = _refusal(error), None
        except JobDataTooLarge as error:
            failure = Failure(str(error), type=type(error).__name__, code=error.code)
            lines = record.log
        failed = settle(program, Fail(failure), Terms())
        queue = await self._queue_of(failed.job)
        with self._tools.net.around("record", program.run_id):
            instead = replace(record, change=failed, queue=queue, log=lines)
            return await recorder.record(instead), failed
        is_ours = await recorder.set_aside(program, failure)
        written = Recorded(program.job_data, due_at=None, version=program.version)
        return written if is_ours else None, failed

    async def _let_go(self, program: Claimed, change: Change, ran: Ran) -> None:
        """Find out why a write was refused: the program has ended, or the lease is another's."""
        tools = self._tools
        tools.metrics.stale_writes.labels(change.ending).inc()
        let_go = settle(program, LetGo(), Terms())
        record = StepRecord(
            program, let_go, DEFAULT_QUEUE, tools.worker, ran.began, ran.ended, ran.log
        )
        if change.ending is not Ending.LET_GO and (await self._write(record))[0] is not None:
            with tools.net.around("observe", program.run_id):
                await tools.observer.observe(program, let_go, ran_s=ran.ended - ran.began)
            return
        tools.observer.observe_stale(program)

    def _wake_next(self, program: Claimed, change: Change, queue: str, recorded: Recorded) -> None:
        """Have the next worker woken at once, where the program is due at once."""
        if recorded.due_at is None or change.due_in_s != 0.0:
            return
        is_suspect, job = change.lease_losses > 0, change.job
        row = Due(
            program.id, program.run_id, queue, recorded.due_at, is_suspect=is_suspect, job=job
        )
        self._tools.relay.wake_soon([row], committed_at=recorded.due_at)


def _refusal(error: BatchRefused | RowUnreadable) -> Failure:
    if isinstance(error, RowUnreadable):
        return Failure(str(error), type=UNREADABLE, code=UNREADABLE)
    message = "the database refused to store the outcome of this step; the log has the details"
    return Failure(message, type="BatchRefused")


def _secrets_of(program: ClaimedRow, redaction: Redaction) -> Sequence[str]:
    if redaction.is_on and isinstance(program, Claimed):
        return redaction.secrets_of(program)
    return ()


def _presentable(
    ran: Ran, program: Claimed, redaction: Redaction, job_data: dict[str, Json]
) -> Ran:
    """Hide in the texts of a step that ran what may not be shown of its program, and cut them.

    `job_data` are those that the step has left; what it brings with its end is hidden, too.
    """
    if not redaction.is_on:
        has_texts = isinstance(ran.outcome, Fail | RetryLater)
        return replace(ran, outcome=veil_outcome(ran.outcome)) if has_texts else ran
    brought = ran.outcome.job_data if isinstance(ran.outcome, Done) else None
    secrets = redaction.secrets_of(program, *job_data.values(), brought)
    log = None if ran.log is None else redaction.lines(ran.log, secrets)
    return replace(ran, outcome=veil_outcome(ran.outcome, secrets), log=log)
