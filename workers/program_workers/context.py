"""Context: what a job sees of its program, and how it keeps its data.

An async job gets a `JobContext`, whose calls are awaited; a plain one gets a `ThreadJobContext`
(thread_context.py), whose calls block its thread. Both speak with the same `StepDesk`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from program_service.bookkeeping.ledger.job_data import EditKind
from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.bookkeeping.step_transaction import StepSession, StepTransaction
from program_workers.children import ChildDesk, ChildProgram, Children
from program_workers.errors import CheckpointReached, JobError
from program_workers.lease import Held


class StepDesk(ChildDesk, Protocol):
    """What the worker does for a running step."""

    async def edit_job_data(self, program: Claimed, kind: EditKind, value: Json) -> dict[str, Json]:
        """Store job data, fenced, and return that of the whole program.

        Raises:
            LeaseLost: the program is not ours any more.
        """


class Results(Mapping[str, Json]):
    """The job data of the program's jobs: `ctx.results["charge"]`; `{}` where none was stored."""

    def __init__(self, program: Claimed) -> None:
        """Read from a program as it was claimed."""
        self._program = program

    def __getitem__(self, job: str) -> Json:
        """Return the data of a job of this program."""
        if job not in self._program.jobs:
            message = f"{job!r} is no job of this program; it has {list(self._program.jobs)}"
            raise KeyError(message)
        return self._program.job_data.get(job, {})

    def __iter__(self) -> Iterator[str]:
        """Walk through the names of the jobs, each once."""
        return iter(dict.fromkeys(self._program.jobs))

    def __len__(self) -> int:
        """Count the names."""
        return len(set(self._program.jobs))


class Step:
    """The running step, shared by both forms of the context."""

    def __init__(
        self, program: Claimed, held: Held, desk: StepDesk, transaction: StepTransaction
    ) -> None:
        """Prepare a step; its function begins by `begin`."""
        self.program = program
        self.held = held
        self.desk = desk
        self.transaction = transaction
        self.began: float | None = None
        """When its function began; it may have waited for a thread before."""
        self.data: Json = dict(program.job_data.get(program.job, {}))
        self.children = Children(program, desk)

    def begin(self) -> None:
        """Note that the function begins now, unless this is its second part."""
        if self.began is None:
            self.began = time.monotonic()

    async def edit(self, kind: EditKind, value: Json) -> None:
        """Store job data.

        Raises:
            JobError: the step has a transaction, which this would not be part of.
        """
        if self.transaction.is_open:
            message = (
                f"job {self.program.job!r} stores job data while its transaction is open, and they"
                " would stay if it is rolled back: return them, and they are committed with it"
            )
            raise JobError(message)
        stored = await self.desk.edit_job_data(self.program, kind, value)
        self.data = stored[self.program.job]
        self.held.program = replace(self.program, job_data=stored)

    async def checkpoint(self, partial: Json, max_execution_time_s: float) -> None:
        """Store progress, and end the step when its time is over."""
        await self.edit("merge", partial)
        assert self.began is not None
        if time.monotonic() - self.began >= max_execution_time_s:
            raise CheckpointReached


class View:
    """What both contexts show."""

    def __init__(self, step: Step) -> None:
        self._step = step

    @property
    def run_id(self) -> str:
        """The program's id."""
        return self._step.program.run_id

    @property
    def job(self) -> str:
        """The name of this job."""
        return self._step.program.job

    @property
    def jobs(self) -> Sequence[str]:
        """The names of all jobs of the program, in order."""
        return self._step.program.jobs

    @property
    def step(self) -> int:
        """The index of this job among them, from 0."""
        return self._step.program.step

    @property
    def attempt(self) -> int:
        """The number of this try, from 1."""
        return self._step.program.attempt

    @property
    def program_data(self) -> Json:
        """The data that was submitted for all jobs."""
        return self._step.program.program_data

    @property
    def results(self) -> Results:
        """The job data of the other jobs of the program."""
        return Results(self._step.program)

    @property
    def idempotency_key(self) -> str:
        """The same for every try of this step: pass it on to whatever can deduplicate by it."""
        return f"{self.run_id}-{self.step}"

    @property
    def cancelled(self) -> bool:
        """Whether the step shall stop: cancelled, timed out, or lost."""
        return self._step.held.is_stopped


class JobData:
    """The data of this job in this program, kept over retries and restarts."""

    def __init__(self, step: Step) -> None:
        """Work on the data of a running step."""
        self._step = step

    async def get(self) -> Json:
        """Return the data; `{}` when none was ever set."""
        return dict(self._step.data)

    async def set(self, value: Json) -> None:
        """Replace the data."""
        await self._step.edit("set", value)

    async def merge(self, partial: Json) -> None:
        """Merge into the data, shallowly: a later property replaces an earlier one."""
        await self._step.edit("merge", partial)

    async def checkpoint(self, partial: Json, max_execution_time_s: float) -> None:
        """Merge progress; when the step has run that long, go on later with the same step.

        The program is put back into its queue then; no retry is counted.
        """
        await self._step.checkpoint(partial, max_execution_time_s)


class JobContext(View):
    """The context of an async job."""

    @property
    def job_data(self) -> JobData:
        """The data of this job."""
        return JobData(self._step)

    async def transaction(self) -> StepSession:
        """Begin a transaction in the bookkeeping database, and return its session.

        What is done in it is committed together with the end of this step, when the job returns,
        and rolled back when it raises, so that it happens exactly once. Every call returns the same
        session.

        Raises:
            NoTransactions: the database is SQLite.
        """
        return await self._step.transaction.begin()

    async def start_program(self, jobs: Sequence[str], **options: Any) -> str:
        """Start another program, once however often this step is tried; return its run_id.

        Options are those of `ChildProgram`: program_data, job_data, labels, start_at, key.

        Raises:
            JobError: one of its jobs is registered nowhere.
        """
        return await self._step.children.start(ChildProgram(jobs, **options))
