"""Reference: a program as people are told it behaves, without SQL and without `lifecycle`.

The ledger is compared with it, column by column. Time has three values here: a row is due, or due
later, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

MAX_ATTEMPTS = 3
QUEUES = {"a": "left", "b": "right"}
"""{job: its queue}."""

Json: TypeAlias = dict[str, Any]


class Try(NamedTuple):
    """A row of the attempts."""

    step: int
    attempt: int
    job: str
    worker: str | None
    outcome: str


class Held(NamedTuple):
    """What a worker was told when it claimed, or when it went on with the next step."""

    run_id: str
    lease: str
    step: int
    retries: int
    attempt: int
    resumes: int
    worker: str


@dataclass
class Expected:
    """One program."""

    run_id: str
    jobs: Sequence[str]
    step: int = 0
    retries: int = 0
    losses: int = 0
    resumes: int = 0
    version: int = 1
    due: str = "now"
    is_finished: bool = False
    is_errored: bool = False
    is_cancelled: bool = False
    is_woken: bool = False
    lease: str | None = None
    claimed_by: str | None = None
    awaiting: int | None = None
    error: str | None = None
    queue: str = "left"
    job_data: dict[str, Json] = field(default_factory=dict)
    tries: dict[tuple[str, int], Try] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """The current job; the last one when all are done."""
        return self.jobs[min(self.step, len(self.jobs) - 1)]

    @property
    def has_ended(self) -> bool:
        """Whether only a resume may change it."""
        return self.is_finished or self.is_errored

    @property
    def attempt(self) -> int:
        """The number of the current try."""
        return 1 + self.retries + self.losses

    @property
    def status(self) -> str:
        """What people read."""
        if self.is_finished:
            return "finished"
        if self.is_errored:
            return "cancelled" if self.is_cancelled else "errored"
        if self.claimed_by:
            return "running"
        if self.awaiting:
            return "waiting"
        if self.due == "later":
            return "retrying" if self.retries else "scheduled"
        return "pending"

    def claim(self, lease: str, worker: str, knows: Sequence[str]) -> str:
        """Claim it: `held`, or why not."""
        if self.has_ended:
            return "gone"
        if self.lease != lease:
            if self.due != "now":
                return "gone"
            if self.job not in knows:
                return "unknown_job"
            self._count_what_was_lost()
            self.lease, self.claimed_by = lease, worker
            self._due("later")
            self.version += 1
        return "held"

    def is_suspect_for(self, lease: str, knows: Sequence[str]) -> bool:
        """Say whether it lost a lease before it was claimed under this one, and can be."""
        can_be = not self.has_ended and self.due == "now" and self.job in knows
        return can_be and self.lease != lease and bool(self.losses or self.lease)

    def put_off(self) -> None:
        """Have it claimed later, by whoever holds no suspect then."""
        self._due("later")

    def _count_what_was_lost(self) -> None:
        if self.lease:
            self._note(self.lease, self.claimed_by, "lost")
            self.losses += 1
        if self.awaiting:
            self.awaiting = None
            self.retries += 1

    def held_by(self, worker: str) -> Held:
        """Return what the worker knows of it."""
        assert self.lease
        return Held(
            self.run_id, self.lease, self.step, self.retries, self.attempt, self.resumes, worker
        )

    def renew(self, lease: str) -> bool:
        """Prolong a lease, if it still is the program's."""
        if self.has_ended or self.lease != lease:
            return False
        self._due("later")
        return True

    def accepts(self, held: Held) -> bool:
        """Say whether a worker may write what became of its step."""
        mine = (held.lease, held.step, held.retries)
        return not self.has_ended and mine == (self.lease, self.step, self.retries)

    def has_receipt(self, held: Held) -> bool:
        """Say whether what became of this try stands already."""
        noted = self.tries.get((held.lease, held.step))
        return noted is not None and noted.outcome != "lost"

    def done(self, held: Held, data: Json | None, *, goes_on: bool) -> None:
        """Advance by a step, or finish."""
        if data:
            self.merge(self.job, data)
        self._written(held, "done", keeps_lease=goes_on)
        self.step, self.retries, self.losses = self.step + 1, 0, 0
        self.is_finished = self.step == len(self.jobs)
        self.due = "never" if self.is_finished else self.due if self.lease else "now"
        self.queue = QUEUES[self.job]

    def retry(self, held: Held, error: str) -> None:
        """Try again later, or end."""
        if self.retries + 1 >= MAX_ATTEMPTS:  # timeouts count too, and end nothing by themselves
            self.fail(held, error)
            return
        self._written(held, "retry")
        self._due("later")
        self.error = error
        self.retries += 1

    def fail(self, held: Held, error: str) -> None:
        """End it."""
        self._written(held, "failed")
        self.error, self.is_errored = error, True

    def accept(self, held: Held) -> None:
        """Wait for an endpoint."""
        self._written(held, "accepted")
        self.awaiting = self.attempt
        self._due("later")

    def give_back(self, held: Held, why: str, due: str) -> None:
        """Leave the same step to whoever comes next."""
        self._written(held, why)
        self._due(due)

    def let_go(self, held: Held) -> bool:
        """Drop the lease of a program that has ended."""
        if not self.has_ended or self.lease != held.lease:
            return self.has_receipt(held)
        self._note(held.lease, held.worker, "cancelled", held)
        self.lease = self.claimed_by = None
        self.version += 1
        return True

    def _written(self, held: Held, outcome: str, *, keeps_lease: bool = False) -> None:
        self._note(held.lease, held.worker, outcome, held)
        if not keeps_lease or self.step + 1 == len(self.jobs):
            self.lease = self.claimed_by = None
        self.awaiting, self.is_woken, self.is_cancelled = None, False, False
        self.queue = QUEUES[self.job]
        self.version += 1

    def _note(self, lease: str, worker: str | None, outcome: str, held: Held | None = None) -> None:
        step = held.step if held else self.step
        attempt = held.attempt if held else self.attempt
        job = self.jobs[step]
        self.tries.setdefault((lease, step), Try(step, attempt, job, worker, outcome))

    def _due(self, due: str) -> None:
        self.due, self.is_woken = due, False

    def cancel(self) -> None:
        """End it, on behalf of somebody; a worker may still hold it."""
        self.is_errored = self.is_cancelled = True
        self.awaiting = None
        self.version += 1

    def resume(self, step: int | None) -> None:
        """Let it go on."""
        self.step = self.step if step is None else step
        self.is_errored = self.is_cancelled = False
        self.error = self.awaiting = self.lease = self.claimed_by = None
        self.retries = self.losses = 0
        self.resumes += 1
        self.version += 1
        self.queue = QUEUES[self.job]
        self._due("now")

    def merge(self, job: str, data: Json) -> None:
        """Let the later property win, at the top level only."""
        self.job_data[job] = {**self.job_data.get(job, {}), **data}

    def edit(self, job: str, kind: str, data: Json) -> None:
        """Set or merge the data of a job, visibly."""
        if kind == "set":
            self.job_data[job] = {}
        self.merge(job, data)
        self.version += 1

    def is_current(self, held: Held, *, same_try: bool) -> bool:
        """Say whether an endpoint that was called for this may still report."""
        told, now = (held.step, held.resumes), (self.step, self.resumes)
        return not self.has_ended and told == now and (not same_try or held.attempt == self.attempt)
