"""Submissions: write programs down in groups, then have somebody woken for them.

The answer is given as soon as the rows are committed, whether the broker is up or not.
"""

import time
from collections.abc import Sequence

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.submitting import (
    NewProgram,
    SubmitResult,
    Submitted,
    submit,
    submit_at_once,
)
from program_service.bookkeeping.ledger.waking import Due
from program_service.telemetry import Metrics
from program_service.wakeups.relay import Relay


class Submissions:
    """The one way into the program table, for the API and for jobs that start programs."""

    name = "submissions"

    def __init__(self, database: Database, relay: Relay, metrics: Metrics) -> None:
        """Take what it needs; `run` must run while programs are submitted."""
        self._database = database
        self._relay = relay
        self._metrics = metrics
        self._group: GroupCommit[NewProgram, SubmitResult] = GroupCommit(
            self._flush, name="submissions"
        )

    async def run(self) -> None:
        """Commit what is submitted, until cancelled."""
        await self._group.run()

    async def submit(self, program: NewProgram) -> SubmitResult:
        """Commit a program together with others that come at the same time.

        Raises:
            BatchRefused: the database refused it.
            JobsNotRegistered: it has a job that was deleted meanwhile.
            DatabaseUnavailable: the database did not answer in time.
        """
        return await self._group.add(program)

    async def submit_all(self, programs: Sequence[NewProgram]) -> Sequence[SubmitResult]:
        """Commit these programs in one transaction of their own: all or nothing.

        Raises:
            BatchRefused: the database refused them.
            JobsNotRegistered: as for `submit`.
            DatabaseUnavailable: the database did not answer in time.
        """
        return await self._flush(programs)

    async def _flush(self, programs: Sequence[NewProgram]) -> Sequence[SubmitResult]:
        began = time.perf_counter()
        has_keys = any(program.idempotency for program in programs)
        is_at_once = self._database.commits_statements and not has_keys
        # an Idempotency-Key that another transaction is writing holds up its own program alone
        results = await self._database.transact_past_outages(
            PATIENCE_S, submit_at_once if is_at_once else submit, programs
        )
        self._metrics.database_s.labels(op="submit").observe(time.perf_counter() - began)
        self._metrics.batch_rows.labels(op="submit").observe(len(programs))
        for program, result in zip(programs, results, strict=True):
            if isinstance(result, Submitted):
                source = "job" if program.parent_run_id else "api"
                self._metrics.submitted.labels(source).inc()
        written = [
            (program.jobs[0], result)
            for program, result in zip(programs, results, strict=True)
            if isinstance(result, Submitted)
        ]
        due = [
            Due(row.id, row.run_id, row.queue, row.due_at, is_suspect=False, job=job)
            for job, row in written
            if row.is_due
        ]
        if due:
            self._relay.wake_soon(due, committed_at=written[0][1].created_at)
        return results
