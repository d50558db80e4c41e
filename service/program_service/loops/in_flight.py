"""In flight: tasks that a loop starts, one for each program, and that outlive its turns."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context

from program_service.cancellation import TaskGroup, is_being_cancelled
from program_service.logs import log
from program_service.plain import described
from program_service.telemetry import Event


class InFlight:
    """The tasks of one loop, which end with it."""

    def __init__(self, loop: str) -> None:
        """Take the name of the loop, for the log."""
        self._loop = loop
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        """Set when a task has ended, and by the loop's owner; the loop clears it."""

    @asynccontextmanager
    async def open(self, *, end_within_s: float) -> AsyncGenerator[None]:
        """Let tasks be started meanwhile; at the end, cancel those that take longer than this."""
        async with TaskGroup() as self._group:
            try:
                yield
            finally:
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=end_within_s)
                for task in self._tasks:
                    task.cancel()

    def start(self, work: Coroutine[None, None, None], *, within: Context | None = None) -> None:
        """Start a task, in this context if one is given; what it raises is logged, and no more."""
        assert self._group is not None
        task = self._group.create_task(self._watched(work), context=within)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.changed.set()

    async def _watched(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (Exception, asyncio.CancelledError) as error:
            if is_being_cancelled():
                raise
            message = described(error)
            log.error(Event.TASK_FAILED, loop=self._loop, error_message=message, exc_info=error)
