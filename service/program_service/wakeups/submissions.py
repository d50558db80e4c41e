"""Submissions: write programs down in groups, then have somebody woken for them.

The answer is given as soon as the rows are committed, whether the broker is up or not.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import RowLocked
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.submitting import (
    NewProgram,
    SubmitResult,
    Submitted,
    submit,
    submit_at_once,
    submit_unlocked,
)
from program_service.bookkeeping.ledger.waking import Due
from program_service.telemetry import Metrics
from program_service.wakeups.relay import Relay

HELD_UP_S = 10.0
"""How long programs of a key that was found locked are committed singly."""
MOST_HELD_UP = 10_000

SHARE = 4
"""Programs that are committed singly take at most one of so many connections."""


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
        self._places = asyncio.Semaphore(max(1, database.pool_size // SHARE))
        self._held_up: dict[tuple[str, str] | None, float] = {}
        """{key: until which monotonic time its programs are committed singly}"""

    async def run(self) -> None:
        """Commit what is submitted, until cancelled."""
        await self._group.run()

    async def submit(self, program: NewProgram) -> SubmitResult:
        """Commit a program together with others that come at the same time.

        Raises:
            BatchRefused: the database refused it.
            JobsNotRegistered: it has a job that was deleted meanwhile.
            RowLocked: another transaction holds its idempotency key, or one of its jobs.
            DatabaseUnavailable: the database did not answer in time.
        """
        if not self._is_held_up(program):
            with suppress(RowLocked):
                return await self._group.add(program)
        return await self._submit_singly(program)

    async def submit_all(self, programs: Sequence[NewProgram]) -> Sequence[SubmitResult]:
        """Commit these programs in one transaction of their own: all or nothing.

        Raises:
            BatchRefused: the database refused them.
            JobsNotRegistered: as for `submit`.
            DatabaseUnavailable: the database did not answer in time.
        """
        with self._measuring(programs):
            results: Sequence[SubmitResult] | None = await self._written_at_once(programs)
            if results is None:
                results = await self._database.transact_past_outages(PATIENCE_S, submit, programs)
        self._wake(programs, results)
        return results

    async def _submit_singly(self, program: NewProgram) -> SubmitResult:
        """Commit a program that others hold up, beside the groups; it waits for their locks."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._places.acquire()
        except TimeoutError as error:
            raise RowLocked from error
        try:
            (result,) = await self.submit_all([program])
        except RowLocked:
            self._hold_up(program)
            raise
        finally:
            self._places.release()
        self._held_up.pop(_key_of(program), None)
        return result

    def _is_held_up(self, program: NewProgram) -> bool:
        """Whether the program's key was found to be another transaction's a moment ago."""
        return self._held_up.get(_key_of(program), 0.0) > time.monotonic()

    def _hold_up(self, program: NewProgram) -> None:
        """Keep programs of this key out of the groups for a while: all others would wait, too."""
        now = time.monotonic()
        self._held_up = {key: until for key, until in self._held_up.items() if until > now}
        if program.idempotency is not None and len(self._held_up) < MOST_HELD_UP:
            self._held_up[_key_of(program)] = now + HELD_UP_S

    async def _flush(self, programs: Sequence[NewProgram]) -> Sequence[SubmitResult | RowLocked]:
        """Commit a group; what other transactions hold up is left to be committed singly."""
        with self._measuring(programs):
            results = await self._written(programs)
        self._wake(programs, results)
        return results

    async def _written(self, programs: Sequence[NewProgram]) -> Sequence[SubmitResult | RowLocked]:
        try:
            if (written := await self._written_at_once(programs)) is not None:
                return written
            return await self._database.transact_past_outages(PATIENCE_S, submit_unlocked, programs)
        except RowLocked as error:
            keyless = [program for program in programs if program.idempotency is None]
            if len(keyless) == len(programs):
                return [error] * len(programs)
        # a key can be taken only by waiting for whoever has it: each program by itself
        others = iter(await self._written(keyless) if keyless else ())
        return [RowLocked() if each.idempotency else next(others) for each in programs]

    async def _written_at_once(self, programs: Sequence[NewProgram]) -> Sequence[Submitted] | None:
        """Write in one statement, if that can be done without waiting for anybody."""
        if not self._database.commits_statements or any(each.idempotency for each in programs):
            return None
        return await self._database.transact_past_outages(PATIENCE_S, submit_at_once, programs)

    @contextmanager
    def _measuring(self, programs: Sequence[NewProgram]) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._metrics.database_s.labels(op="submit").observe(time.perf_counter() - began)
        self._metrics.batch_rows.labels(op="submit").observe(len(programs))

    def _wake(
        self, programs: Sequence[NewProgram], results: Sequence[SubmitResult | RowLocked]
    ) -> None:
        """Count what was written, and have somebody woken for what is due."""
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


def _key_of(program: NewProgram) -> tuple[str, str] | None:
    key = program.idempotency
    return (key.owner, key.key) if key is not None else None
