"""Job tasks: a task that a job or a hook starts ends, at worst, with an exception of its own.

asyncio raises SystemExit and KeyboardInterrupt of any task out of its event loop, too: a job whose
task calls sys.exit() would end the worker, and with it the steps of all other programs.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from program_service.plain import name_of

is_of_a_program: ContextVar[bool] = ContextVar("is_of_a_program", default=False)
"""Whether what runs is done for one program; the tasks that it starts inherit it."""


class TaskExited(Exception):
    """A task of a job tried to end the process."""


@contextmanager
def sparing_the_loop() -> Iterator[None]:
    """Keep such exceptions in their tasks meanwhile; a factory of somebody else's is left alone."""
    loop = asyncio.get_running_loop()
    is_ours = loop.get_task_factory() is None
    if is_ours:
        loop.set_task_factory(cast("Any", _make_task))
    try:
        yield
    finally:
        if is_ours:
            loop.set_task_factory(None)


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> "asyncio.Task[Any]":
    contained = _contained(coroutine) if is_of_a_program.get() else coroutine
    return asyncio.Task(contained, loop=loop, **options)


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        msg = f"a task of the job raised {name_of(error)}"
        raise TaskExited(msg) from error
