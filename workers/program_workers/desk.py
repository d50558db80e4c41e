"""Desk: what a running step may ask of its worker."""

import uuid_utils

from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.errors import JobsNotRegistered
from program_service.bookkeeping.flaws import flaw_of_data
from program_service.bookkeeping.ledger.job_data import EditKind, JobDataEdit, too_large
from program_service.bookkeeping.ledger.keys import IdempotencyKey, Mismatched, Replayed
from program_service.bookkeeping.ledger.submitting import NewProgram
from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.bookkeeping.veiling import storable_for
from program_service.redaction import Redaction
from program_service.tracing.spans import Traces
from program_service.wakeups.submissions import Submissions
from program_workers.children import ChildProgram
from program_workers.errors import JobError, LeaseLost
from program_workers.recorder import Recorder


class Desk:
    """Serve the running steps of a worker."""

    def __init__(  # noqa: PLR0913 - all that a running step may ask for
        self,
        recorder: Recorder,
        submissions: Submissions,
        directory: JobDirectory,
        traces: Traces,
        *,
        max_job_data_bytes: int,
        redaction: Redaction,
    ) -> None:
        """Take what it needs."""
        self._redaction = redaction
        self._max_job_data_bytes = max_job_data_bytes
        self._recorder = recorder
        self._submissions = submissions
        self._directory = directory
        self._traces = traces

    async def edit_job_data(self, program: Claimed, kind: EditKind, value: Json) -> dict[str, Json]:
        """Store job data, fenced, and return that of the whole program.

        Raises:
            LeaseLost: the program is not ours any more.
            NotStorable: the value is no JSON object.
            JobDataTooLarge: the job data of the program would be too long.
        """
        checked = storable_for(self._redaction, value, what=f"the job data of {program.job!r}")
        stored = await self._recorder.edit_job_data(JobDataEdit(program, kind, checked))
        if stored is None:
            raise LeaseLost
        return stored

    async def start_program(
        self, parent: Claimed, child: ChildProgram, name: str, *, formerly: str | None = None
    ) -> str:
        """Submit a program once for each name, and return its run_id.

        `formerly` is the name that an earlier release has stored, if it began the step.

        Raises:
            JobError: it has no jobs, or one that is registered nowhere.
            JobDataTooLarge: its job data are too long.
        """
        queues = await self._directory.queues(child.jobs)
        unknown = [job for job in child.jobs if job not in queues]
        if unknown or not child.jobs:
            message = f"a program of {list(child.jobs)} cannot be started: unknown are {unknown}"
            raise JobError(message)
        if not all(isinstance(value, str) for value in child.labels.values()):
            message = f"labels must be texts, not {child.labels}"
            raise JobError(message)
        if child.start_at is not None and child.start_at.tzinfo is None:
            message = f"start_at is {child.start_at}; it needs a zone, as in datetime.now(UTC)"
            raise JobError(message)
        new = NewProgram(
            run_id=str(uuid_utils.uuid7()),
            jobs=list(child.jobs),
            queue=queues[child.jobs[0]],
            program_data=storable_for(self._redaction, child.program_data, what="program_data"),
            job_data=self._job_data_of(child),
            labels=storable_for(self._redaction, child.labels, what="labels"),
            start_at=child.start_at,
            parent_run_id=parent.run_id,
            traceparent=self._traces.onward(parent.traceparent),
            # not hashed: a step that is tried again means the same child, whatever it passes now
            idempotency=IdempotencyKey(parent.run_id, name, "child", formerly=formerly),
            is_for_known_jobs=True,
        )
        try:
            result = await self._submissions.submit(new)
        except JobsNotRegistered as unknown_jobs:
            raise JobError(str(unknown_jobs)) from unknown_jobs
        match result:
            case Replayed(run_id):
                return run_id
            case Mismatched(error):
                raise JobError(str(error))
            case submitted:
                return submitted.run_id

    def _job_data_of(self, child: ChildProgram) -> dict[str, Json]:
        """Return the job data of a child.

        Raises:
            NotStorable: they are no JSON object.
            JobError: the data of a job are none, or all are too large.
        """
        job_data: dict[str, Json] = storable_for(self._redaction, child.job_data, what="job_data")
        if flaw := flaw_of_data(list(job_data), job_data):
            raise JobError(flaw)
        if is_too_large := too_large(job_data, most=self._max_job_data_bytes):
            raise is_too_large
        return job_data
