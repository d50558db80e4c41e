"""In-process jobs: run a function, in the event loop or in a thread, until it ends or is stopped.

A stopped async job is cancelled; a thread cannot be, so a plain job keeps its slot until its thread
has ended, and nothing that it returns then is recorded (invariant 13).

The time of an attempt begins with its function. A plain job's program is claimed when there is a
thread for it; should it wait for one all the same, its clock stands still meanwhile.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Self

from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.lifecycle import (
    TIMED_OUT,
    Done,
    Fail,
    Failure,
    LetGo,
    Outcome,
    Released,
    RetryLater,
    Yielded,
)
from program_service.bookkeeping.unstorable import NotStorable
from program_service.bookkeeping.veiling import storable_for
from program_service.cancellation import Marks, restoring
from program_service.logs import log
from program_service.redaction import Redaction
from program_service.telemetry import Event
from program_workers.classes import InThread
from program_workers.context import JobContext, Step
from program_workers.errors import CheckpointReached, LeaseLost
from program_workers.job_threads import JobThreads
from program_workers.judgement import is_for_the_worker, judge
from program_workers.lease import Held, StopReason
from program_workers.library import Job
from program_workers.thread_context import ThreadJobContext


class InProcessJobs:
    """Run functions of the job library."""

    def __init__(
        self,
        threads: Executor,
        job_threads: JobThreads | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        """Take the threads of plain jobs, who notes which job each runs, and what is hidden."""
        self._redaction = redaction or Redaction()
        self._threads = threads
        self._job_threads = job_threads or JobThreads()

    async def run(self, job: Job, step: Step) -> Outcome:
        """Run a job and say what became of it."""
        scope, marks = asyncio.timeout(job.timeout_s), Marks()
        try:
            with restoring(), step.held.stopping(scope), _Clock.of(scope, step.held) as clock:
                async with scope:
                    outcome = _completed(job, await self._call(job, step, clock), self._redaction)
                    if isinstance(outcome, Done):
                        await step.transaction.flush()
        except BaseException as error:
            if scope.expired() and not step.held.is_abandoned:
                marks.restore()  # a job's own task group hid that the scope ended it
            if is_for_the_worker(error):
                raise
            if stopping := _stopping_outcome(error, step):
                return stopping
            if scope.expired() or step.held.stop_reason is not None:
                return _stopped(job, step)
            transaction = step.transaction
            passing = transaction.passing_outcome(error) if transaction.was_asked_for else None
            return passing or judge(error)
        return _stopped(job, step) if scope.expired() else outcome

    async def _call(self, job: Job, step: Step, clock: "_Clock") -> Any:
        if job.is_async:
            step.begin()
            result = await job.function(JobContext(step))
        else:
            result = await self._in_thread(job, step, clock)
        if isinstance(result, InThread):
            onward = job.named(job.name, function=result.function)
            return await self._in_thread(onward, step, clock)
        return result

    async def _in_thread(self, job: Job, step: Step, clock: "_Clock") -> Any:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        view = ThreadJobContext(step, loop)

        def run() -> tuple[Any, BaseException | None]:
            step.begin()
            loop.call_soon_threadsafe(clock.start)
            with self._job_threads.running(step.held):
                return _captured(job, view)

        clock.stop()
        thread = self._threads.submit(context.run, run)
        running = asyncio.wrap_future(thread)
        try:
            result, error = await asyncio.shield(running)
        except asyncio.CancelledError:
            step.held.is_stopped = True
            if not thread.cancel():  # it has begun, and nothing but its own end can stop it
                log.warning(Event.THREAD_OUTLIVES, run_id=view.run_id, job=job.name)
                await asyncio.wait([running])
            raise
        if error is not None:
            raise error
        # a plain function around an async one answers what is to be awaited
        return await result if inspect.isawaitable(result) else result


class _Clock:
    """The time that an attempt may take; it does not run while the job waits for a thread."""

    def __init__(self, scope: asyncio.Timeout, held: Held) -> None:
        """Take the scope that ends with the time, or when the step is stopped."""
        self._scope = scope
        self._held = held
        self._left_s: float | None = None

    @classmethod
    @contextmanager
    def of(cls, scope: asyncio.Timeout, held: Held) -> Iterator[Self]:
        """Have a clock as long as the scope; a thread may come after that."""
        clock = cls(scope, held)
        try:
            yield clock
        finally:
            clock._left_s = None

    def stop(self) -> None:
        """Keep what is left of the time."""
        end = self._scope.when()
        left_s = 0.0 if end is None else end - asyncio.get_running_loop().time()
        if left_s > 0 and self._is_running:
            self._left_s = left_s
            self._scope.reschedule(None)

    def start(self) -> None:
        """Let what is left of the time run."""
        if self._left_s is not None and self._is_running:
            self._scope.reschedule(asyncio.get_running_loop().time() + self._left_s)

    @property
    def _is_running(self) -> bool:
        return self._held.stop_reason is None and not self._scope.expired()


def _captured(job: Job, view: ThreadJobContext) -> tuple[Any, BaseException | None]:
    """Call a plain job; a future cannot hold every exception: StopIteration would hang it."""
    if view.cancelled:  # while it waited for a thread
        return None, asyncio.CancelledError()
    try:
        return job.function(view), None
    except BaseException as error:  # noqa: BLE001 - around a job
        return None, error


def _stopping_outcome(error: BaseException, step: Step) -> Outcome | None:
    """Find what we raised into the job, which ends the step, also in the group of its own tasks."""
    kind = type(error)  # not `isinstance`: it asks for a `__class__`, which may raise
    if issubclass(kind, BaseExceptionGroup):
        found = (_stopping_outcome(inner, step) for inner in error.exceptions)  # type: ignore[attr-defined]
        return next((outcome for outcome in found if outcome is not None), None)
    if issubclass(kind, CheckpointReached):
        return Yielded()
    if issubclass(kind, DatabaseUnavailable):  # our own database's, and no failure of the job
        return step.transaction.give_back(error)
    return LetGo() if issubclass(kind, LeaseLost) else None


def _completed(job: Job, result: Any, redaction: Redaction) -> Outcome:
    if result is None:
        return Done()
    try:
        what = f"what job {job.name!r} returned"
        return Done(storable_for(redaction, result, what=what))
    except NotStorable as error:
        why = "" if error.path else "; it is merged into the job data"
        return Fail(Failure(f"{error}{why}", type="NotStorable", code=error.code))


def _stopped(job: Job, step: Step) -> Outcome:
    """Say what becomes of a step that was stopped from outside."""
    match step.held.stop_reason:
        case StopReason.CANCELLED:
            return LetGo()
        case StopReason.LEASE_LOST | StopReason.SHUTDOWN:
            return Released()
        case None:
            message = f"{TIMED_OUT}: job {job.name!r} ran longer than {job.timeout_s} s"
            return RetryLater(Failure(message, type=TIMED_OUT, code=TIMED_OUT))
