"""Thread context: what a plain job sees of its program, from its own thread."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from program_service.bookkeeping.lifecycle import Json
from program_workers.children import ChildProgram
from program_workers.context import Step, View

R = TypeVar("R")


class ThreadJobData:
    """The data of a plain job; its calls block the thread."""

    def __init__(self, step: Step, wait: "Wait") -> None:
        """Work on the data of a running step."""
        self._step = step
        self._wait = wait

    def get(self) -> Json:
        """Return the data; `{}` when none was ever set."""
        return dict(self._step.data)

    def set(self, value: Json) -> None:
        """Replace the data."""
        self._wait(self._step.edit("set", value))

    def merge(self, partial: Json) -> None:
        """Merge into the data, shallowly: a later property replaces an earlier one."""
        self._wait(self._step.edit("merge", partial))

    def checkpoint(self, partial: Json, max_execution_time_s: float) -> None:
        """Merge progress; when the step has run that long, go on later with the same step."""
        self._wait(self._step.checkpoint(partial, max_execution_time_s))


class ThreadJobContext(View):
    """The context of a plain job, which runs in a thread; long loops should ask `cancelled`."""

    def __init__(self, step: Step, loop: asyncio.AbstractEventLoop) -> None:
        """Bring calls of the thread to the worker's event loop."""
        super().__init__(step)
        self._loop = loop
        self._loop_thread = threading.get_ident()

    @property
    def job_data(self) -> ThreadJobData:
        """The data of this job."""
        return ThreadJobData(self._step, self._wait)

    def start_program(self, jobs: Sequence[str], **options: Any) -> str:
        """Start another program, as `JobContext.start_program` does."""
        return self._wait(self._step.children.start(ChildProgram(jobs, **options)))

    def _wait(self, call: Coroutine[Any, Any, R]) -> R:
        if threading.get_ident() == self._loop_thread:  # it would wait for itself
            call.close()
            message = f"job {self.job!r} is plain, but async inside: make all of it async"
            raise RuntimeError(message)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


class Wait(Protocol):
    """Run a coroutine in the worker's event loop and block for its result."""

    def __call__(self, call: Coroutine[Any, Any, R], /) -> R:
        """Run and wait."""
