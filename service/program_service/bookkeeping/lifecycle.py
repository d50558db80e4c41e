"""Lifecycle: what becomes of a program, decided without I/O.

This module is the whole state machine. A worker holds a claimed program, runs one step and gets an
`Outcome`; `settle` turns the two into a `Change`, the new facts of the row. `status_of` reads the
status from the facts of a row. Nothing here knows of databases, brokers or clocks.

    claimed ── Done ────► next step (lease kept, or released to the next job's queue), or finished
            ── Retry ───► due again after a backoff, or errored when the tries are used up
            ── Fail ────► errored
            ── Accepted ► waiting for a callback, until its deadline
            ── Yielded ─► due now, same step, nothing counted (the job asked for a pause)
            ── Released ► due now, same step, nothing counted (the worker is stopping)
            ── LetGo ───► only the lease is dropped (the program ended, or was cancelled, meanwhile)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from program_service.bookkeeping.retry import Retry

DEFAULT_QUEUE = "default"

MAX_LEASE_LOSSES = 3
"""Leases that one step may lose before the program errors: a poison job must not kill the fleet."""

WORKER_LOST = "worker_lost"
TIMED_OUT = "timeout"

Json: TypeAlias = dict[str, Any]
"""A JSON object."""


class Status(StrEnum):
    """What a program is doing; derived from the facts of its row, never stored."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    FINISHED = "finished"
    ERRORED = "errored"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a program of this status changes only by an explicit resume."""
        return self in {Status.FINISHED, Status.ERRORED, Status.CANCELLED}


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns of a row that its status follows from."""

    finished_at: datetime | None
    errored_at: datetime | None
    cancelled_at: datetime | None
    claimed_by: str | None
    awaiting: int | None
    step_retry_count: int
    due_at: datetime | None


def status_of(facts: Facts, *, now: datetime) -> Status:
    """Derive the status from the facts; the SQL twin is `ledger.status.status_expression`."""
    is_due_later = facts.due_at is not None and facts.due_at > now
    rules = (
        (facts.finished_at is not None, Status.FINISHED),
        (facts.errored_at is not None and facts.cancelled_at is not None, Status.CANCELLED),
        (facts.errored_at is not None, Status.ERRORED),
        (facts.claimed_by is not None, Status.RUNNING),
        (facts.awaiting is not None, Status.WAITING),
        (facts.step_retry_count > 0 and is_due_later, Status.RETRYING),
        (is_due_later, Status.SCHEDULED),
    )
    return next((status for holds, status in rules if holds), Status.PENDING)


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Claimed:
    """A program as the worker that claimed it holds it: the step to run, and the fence."""

    id: int
    run_id: str
    lease: str
    jobs: Sequence[str]
    step: int
    step_retry_count: int
    lease_losses: int
    program_data: Json
    job_data: dict[str, Json]
    created_at: datetime
    claimed_at: datetime
    version: int
    resumes: int = 0
    traceparent: str | None = None
    is_taken_over: bool = field(default=False, compare=False)
    """Whether the claim found the lapsed lease of another worker."""

    @property
    def job(self) -> str:
        """The name of the current job."""
        return self.jobs[self.step]

    @property
    def attempt(self) -> int:
        """The number of this try of the step, from 1."""
        return 1 + self.step_retry_count + self.lease_losses


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong; `veiling` makes its texts fit to be recorded."""

    message: str
    type: str | None = None
    traceback: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job completed; `job_data` (or None) is merged into its job data, shallowly."""

    job_data: Json | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The job failed in a way that may pass; `after` is a lower bound of the delay."""

    failure: Failure
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The job failed for good; an ignorable failure is logged as information."""

    failure: Failure
    is_ignorable: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """An endpoint took the step over; it completes it, or asks for more time, within so long."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Yielded:
    """The job stored a checkpoint and asked to continue at the same step, after so many seconds."""

    due_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gives the program back, unfinished and unharmed, due after so many seconds."""

    due_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LetGo:
    """The program ended behind the worker's back; only its lease is dropped."""


Outcome: TypeAlias = Done | RetryLater | Fail | Accepted | Yielded | Released | LetGo


class Ending(StrEnum):
    """What a change does to the program."""

    ADVANCED = "advanced"
    FINISHED = "finished"
    ERRORED = "errored"
    REQUEUED = "requeued"
    AWAITED = "awaited"
    LET_GO = "let_go"


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Change:
    """The new facts of a row: absolute values, so that writing them twice changes nothing.

    `due_in_s` counts from the database's clock at the write; None leaves `due_at` as it is.
    """

    ending: Ending
    outcome: str
    """The word for `attempts.outcome` and the metrics: done, retry, failed, ignored, yielded, …"""
    step: int
    step_retry_count: int
    lease_losses: int
    is_lease_kept: bool
    job: str
    due_in_s: float | None = None
    failure: Failure | None = None
    job_data: Json | None = None
    awaiting: int | None = None
    """The attempt whose completion is awaited."""

    @property
    def retry_reason(self) -> str | None:
        """Why the step is put off: the code of its error, or `error`; None when it is not."""
        if self.outcome != "retry" or self.failure is None:
            return None
        return self.failure.code or "error"


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Terms:
    """What `settle` needs to know of the job and the worker, besides the outcome."""

    retry: Retry = field(default_factory=Retry)
    is_next_mine: bool = True
    """Whether this worker may go on with the next job at once."""


def verdict(program: Claimed, policy: Retry) -> Fail | None:
    """Say whether a claimed program is beyond help, before its step is begun again."""
    if program.lease_losses >= MAX_LEASE_LOSSES:
        message = (
            f"{WORKER_LOST}: {program.lease_losses} workers in a row died or lost their lease"
            f" while they ran {program.job!r}"
        )
        return Fail(Failure(message, type=WORKER_LOST, code=WORKER_LOST))
    if program.step_retry_count >= policy.max_attempts:
        message = f"{TIMED_OUT}: no completion of {program.job!r} came before its deadline"
        return Fail(Failure(message, type=TIMED_OUT, code=TIMED_OUT))
    return None


def settle(  # noqa: PLR0911 - one line for each outcome
    program: Claimed, outcome: Outcome, terms: Terms, *, draw: float = 1.0
) -> Change:
    """Turn the outcome of the current step into the new facts of the program's row."""
    match outcome:
        case Done(job_data):
            return _completed(program, job_data, terms)
        case RetryLater(failure, after):
            return _retry_or_fail(program, failure, terms.retry, after=after, draw=draw)
        case Fail(failure, is_ignorable):
            word = "ignored" if is_ignorable else "failed"
            return _stay(program, Ending.ERRORED, word, failure=failure)
        case Accepted(within_s):
            change = _stay(program, Ending.AWAITED, "accepted", due_in_s=within_s)
            return replace(change, awaiting=program.attempt)
        case Yielded(due_in_s):
            return _stay(program, Ending.REQUEUED, "yielded", due_in_s=due_in_s)
        case Released(due_in_s):
            return _stay(program, Ending.REQUEUED, "released", due_in_s=due_in_s)
        case LetGo():
            return _stay(program, Ending.LET_GO, "cancelled")
        case _:
            assert_never(outcome)


def _completed(program: Claimed, job_data: Json | None, terms: Terms) -> Change:
    after = program.step + 1
    is_last = after == len(program.jobs)
    goes_on = not is_last and terms.is_next_mine
    return Change(
        ending=Ending.FINISHED if is_last else Ending.ADVANCED,
        outcome="done",
        # the step of a finished program is the number of its jobs: all of them are done
        step=after,
        step_retry_count=0,
        lease_losses=0,
        is_lease_kept=goes_on,
        job=program.jobs[-1 if is_last else after],
        # a lease that is kept is not prolonged: renewals do that, and the row stays where its
        # indexes point (28 % less of PostgreSQL's time for a step)
        due_in_s=None if is_last or goes_on else 0.0,
        job_data=job_data,
    )


def _retry_or_fail(
    program: Claimed, failure: Failure, policy: Retry, *, after: timedelta | None, draw: float
) -> Change:
    retries = program.step_retry_count + 1
    if retries >= policy.max_attempts:
        return _stay(program, Ending.ERRORED, "failed", failure=failure)
    change = _stay(
        program,
        Ending.REQUEUED,
        "retry",
        failure=failure,
        due_in_s=policy.delay_s(retries, after=after, draw=draw),
    )
    return replace(change, step_retry_count=retries)


def _stay(
    program: Claimed,
    ending: Ending,
    outcome: str,
    *,
    due_in_s: float | None = None,
    failure: Failure | None = None,
) -> Change:
    return Change(
        ending=ending,
        outcome=outcome,
        step=program.step,
        step_retry_count=program.step_retry_count,
        lease_losses=program.lease_losses,
        is_lease_kept=False,
        job=program.job,
        due_in_s=due_in_s,
        failure=failure,
    )
