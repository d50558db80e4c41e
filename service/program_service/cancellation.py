"""Cancellation: tell a task that was asked to end from one that met somebody else's cancellation.

A driver may raise `CancelledError` although nobody cancelled the task that awaits it: aiormq does
so for every pending call when its connection is abandoned. A task group treats a child that ended
with it as one that ended normally.

Before Python 3.13, `asyncio.TaskGroup` leaves its task marked as being cancelled when a child fails
while the group waits for its children. `TaskGroup` here does not, and `Marks` remove the marks that
the groups of others left.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


def is_being_cancelled() -> bool:
    """Whether somebody asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class TaskGroup(asyncio.TaskGroup):
    """A task group that takes back its own cancellation of the task that waits for it."""

    if sys.version_info < (3, 13):
        _parent_cancel_requested: bool
        _parent_task: asyncio.Task[object] | None

        async def __aexit__(
            self,
            et: type[BaseException] | None,
            exc: BaseException | None,
            tb: TracebackType | None,
        ) -> None:
            """Wait for the children; see https://github.com/python/cpython/issues/116720."""
            was_requested = self._parent_cancel_requested
            try:
                await super().__aexit__(et, exc, tb)
            finally:
                if self._parent_cancel_requested and not was_requested and self._parent_task:
                    self._parent_task.uncancel()


class Marks:
    """How often a task was marked as being cancelled at some moment."""

    def __init__(self) -> None:
        """Count those of the current task."""
        self._task = asyncio.current_task()
        self._count = self._task.cancelling() if self._task else 0

    def restore(self) -> None:
        """Remove those that came since, which nobody meant."""
        while self._task and self._task.cancelling() > self._count:
            self._task.uncancel()


@contextmanager
def restoring() -> Iterator[None]:
    """Remove the marks that a block leaves which does not end by a cancellation."""
    marks = Marks()
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException:
        marks.restore()
        raise
    marks.restore()
