"""Hooks: functions of the user's that are told what became of programs.

Plain ones run in threads of their own, which neither hold up those of others nor the end of the
process: a hook that never returns costs a thread, and nothing else waits for it.
"""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from program_service.bookkeeping.lifecycle import Json
from program_service.logs import log
from program_service.plain import name_of, text_of
from program_service.telemetry import Event
from program_workers.judgement import is_for_the_worker
from program_workers.library import Hook

HOOK_TIMEOUT_S = 30.0
"""How long a hook may take, and how long a plain one may wait for a thread: its program's slot is
held meanwhile."""

MAX_THREADS = 32
"""Plain hooks that run at a time."""


@dataclass(frozen=True, slots=True)
class ProgramEvent:
    """What a hook is told: the step that a program was at, and what became of it."""

    moment: str
    run_id: str
    job: str
    step: int
    attempt: int
    program_data: Json
    error_message: str | None = None
    error_code: str | None = None
    retry_in_s: float | None = None


class NoThread(Exception):
    """As many plain hooks as may run at a time have not returned."""


class Hooks:
    """Call hooks, one after the other for each event; those that fail are logged."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """Take the hooks, to which more may be added."""
        self._hooks = hooks
        self._free = asyncio.Semaphore(MAX_THREADS)

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._hooks)

    async def call(self, event: ProgramEvent) -> None:
        """Call the hooks of this moment."""
        for hook in self._hooks:
            if hook.moment != event.moment:
                continue
            try:
                await self._hear(hook, event)
            except BaseException as error:
                if is_for_the_worker(error):
                    raise
                message = text_of(error) or name_of(error)
                log.error(Event.HOOK_FAILED, hook=event.moment, error_message=message)

    async def _hear(self, hook: Hook, event: ProgramEvent) -> None:
        """Call a hook.

        Raises:
            TimeoutError: it took too long.
            NoThread: there was none for it; or whatever the hook raises.
        """
        if inspect.iscoroutinefunction(hook.function):
            async with asyncio.timeout(HOOK_TIMEOUT_S):
                await hook.function(event)
            return
        try:
            async with asyncio.timeout(HOOK_TIMEOUT_S):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoThread(NoThread.__doc__) from error
        async with asyncio.timeout(HOOK_TIMEOUT_S):
            raised = await self._in_thread(hook, event)
        if raised is not None:
            raise raised

    async def _in_thread(self, hook: Hook, event: ProgramEvent) -> BaseException | None:
        """Call a plain hook in a thread, which is held until it returns; return what it raised."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[BaseException | None] = loop.create_future()

        def end(raised: BaseException | None) -> None:
            self._free.release()
            if not heard.done():
                heard.set_result(raised)

        def run() -> None:
            raised = _captured(hook, event)
            with suppress(RuntimeError):  # the process ends, and its loop is closed
                loop.call_soon_threadsafe(end, raised)

        context = contextvars.copy_context()
        try:
            threading.Thread(target=context.run, args=(run,), name="hook", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._free.release()
            raise
        return await heard


def _captured(hook: Hook, event: ProgramEvent) -> BaseException | None:
    """Call a plain hook; a future cannot hold every exception."""
    try:
        hook.function(event)
    except BaseException as error:  # noqa: BLE001 - around a user's function
        return error
    return None
