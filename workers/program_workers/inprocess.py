"""In-process jobs: run a function, in the event loop or in a thread, until it ends or is stopped.

A stopped async job is cancelled; a thread cannot be, so a plain job keeps its slot until its thread
has ended, and nothing that it returns then is recorded (invariant 13).
"""

import asyncio
import contextvars
import inspect
import traceback
from collections.abc import Awaitable
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

import structlog

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
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.storable import NotStorable, storable_object, storable_text
from program_service.telemetry import Event
from program_workers.context import JobContext, Step, ThreadJobContext
from program_workers.errors import CheckpointReached, LeaseLost
from program_workers.lease import StopReason
from program_workers.library import Job

log = structlog.get_logger()


class InProcessJobs:
    """Run functions of the job library."""

    def __init__(self, threads: Executor) -> None:
        """Take the threads that plain jobs run in."""
        self._threads = threads

    async def run(self, job: Job, step: Step) -> Outcome:
        """Run a job and say what became of it."""
        scope = asyncio.timeout(job.timeout_s)
        try:
            with step.held.stopping(scope):
                async with scope:
                    result = await self._call(job, step)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        # whatever else a job raises is its outcome: sys.exit() must not end the worker
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled_from_outside():
                raise
            return _stopping_outcome(error) or (
                _stopped(job, step) if scope.expired() else judge(error)
            )
        return _stopped(job, step) if scope.expired() else _completed(job, result)

    def _call(self, job: Job, step: Step) -> Awaitable[Any]:
        if job.is_async:
            call: Awaitable[Any] = job.function(JobContext(step))
            return call
        return self._in_thread(job, step)

    async def _in_thread(self, job: Job, step: Step) -> Any:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        view = ThreadJobContext(step, loop)
        thread = self._threads.submit(context.run, _captured, job, view)
        running = asyncio.wrap_future(thread)
        try:
            result, error = await asyncio.shield(running)
        except asyncio.CancelledError:
            step.held.stopped.set()
            if not thread.cancel():  # it has begun, and nothing but its own end can stop it
                log.warning(Event.THREAD_OUTLIVES, run_id=view.run_id, job=job.name)
                await asyncio.wait([running])
            raise
        if error is not None:
            raise error
        # a plain function around an async one answers what is to be awaited
        return await result if inspect.isawaitable(result) else result


def _captured(job: Job, view: ThreadJobContext) -> tuple[Any, BaseException | None]:
    """Call a plain job; a future cannot hold every exception: StopIteration would hang it."""
    try:
        return job.function(view), None
    except BaseException as error:  # noqa: BLE001 - around a job
        return None, error


def _stopping_outcome(error: BaseException) -> Outcome | None:
    """Find what we raised to end the step ourselves, also in the group of a job's own tasks."""
    if isinstance(error, BaseExceptionGroup):
        found = (_stopping_outcome(inner) for inner in error.exceptions)
        return next((outcome for outcome in found if outcome is not None), None)
    if isinstance(error, CheckpointReached):
        return Yielded()
    return LetGo() if isinstance(error, LeaseLost) else None


def judge(error: BaseException) -> Outcome:
    """Say what an exception of a job means; any exception may carry `retryable` or `ignorable`."""
    failure = Failure(
        message=storable_text(_text(error) or type(error).__name__),
        type=storable_text(type(error).__qualname__)[:255],
        traceback=storable_text("".join(traceback.format_exception(error))),
        code=_code(error),
    )
    if _ask(error, "retryable") is True:
        return RetryLater(failure, _delay(_ask(error, "after")))
    return Fail(failure, is_ignorable=_ask(error, "ignorable") is True)


def _delay(after: object) -> timedelta | None:
    """Read the least delay before a retry: a timedelta, or seconds; what is neither is ignored."""
    if isinstance(after, int | float) and 0 <= after < LONGEST_S:
        return timedelta(seconds=after)
    return after if isinstance(after, timedelta) else None


def _ask(error: BaseException, name: str) -> object:
    """Read an attribute of what a job raised, even of what cannot be asked."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a job's own property
        return None


def _is_cancelled_from_outside() -> bool:
    """Tell a cancelled worker task from a job that awaited something which was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _code(error: BaseException) -> str | None:
    code = _ask(error, "code")
    return storable_text(_text(code))[:255] if code is not None else None


def _text(value: object) -> str:
    """Return the text of what a job raised, even of what cannot say it."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a job's own __str__
        return f"<{type(value).__qualname__} without a text>"


def _completed(job: Job, result: Any) -> Outcome:
    if result is None:
        return Done()
    try:
        return Done(storable_object(result, what=f"what job {job.name!r} returned"))
    except NotStorable as error:
        return Fail(Failure(f"{error}; it is merged into the job data", type="NotStorable"))


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
