"""Fleet: several worker processes under one parent, for `work --processes n`.

Each child is a worker of its own, with its own port for probes and metrics. The parent passes
signals on, restarts a child that died, and ends with the worst exit code of all. If a child cannot
start, the fleet ends: whatever runs it should know. When the parent is killed, its children drain
and end: each reads a pipe that only the parent could write to.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from program_executor.ending import BY_SIGNAL, Ending
from program_executor.errors import ExitCode, UsageError
from program_executor.processes import run, set_up_logs, stop_on_signals
from program_service.bookkeeping.retry import Retry
from program_service.cancellation import TaskGroup
from program_service.logs import log
from program_service.settings import PREFIX, Settings
from program_service.telemetry import Event

BACKOFF = Retry(initial_s=1.0, max_s=30.0, jitter="none")
MAX_PORT = 65_535

END_WITHIN_S = 15.0
"""After the grace time; a worker needs less, also when its servers do not answer."""
WELL_AFTER_S = 60.0
"""A child that has lived for so long did start; its end is counted as the first."""
MOST_DEATHS = 10
"""Ends in a row, each soon after the start: then the fleet gives up, after 2.5 minutes or more."""


def run_fleet(
    settings: Settings, arguments: Sequence[str], ending: Ending, *, processes: int
) -> None:
    """Run worker processes until SIGTERM or Ctrl-C; `ending` gets the worst exit code.

    Raises:
        UsageError: there are not so many ports.
    """
    set_up_logs(settings)
    last = settings.worker_port + processes - 1
    if settings.worker_port and last > MAX_PORT:
        msg = (
            f"{processes} processes from port {settings.worker_port} on need ports up to {last};"
            f" choose a --port of at most {MAX_PORT - processes + 1}, or 0"
        )
        raise UsageError(msg)
    run(_run(Fleet(settings, arguments), ending, processes=processes))


async def _run(fleet: "Fleet", ending: Ending, *, processes: int) -> None:
    with stop_on_signals(fleet.stop, ending):
        async with TaskGroup() as tasks:
            members = [tasks.create_task(fleet.keep(number)) for number in range(processes)]
    codes = [member.result() for member in members]
    if fleet.failed is None:
        ending.code = max(codes)
    else:
        ending.code = codes[fleet.failed.number]
        ending.log_failure(fleet.failed.reason)


@dataclass(frozen=True, slots=True)
class Failed:
    """A child that cannot be kept alive."""

    number: int
    reason: str


class Fleet:
    """The children, by their number."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        """Start children with these arguments of `program-executor work`."""
        self._settings = settings
        self._arguments = arguments
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self.failed: Failed | None = None
        """Why the fleet gave up, if it did."""

    def stop(self) -> None:
        """Pass a signal on; the children do the rest, also with a second one."""
        if not self._stopping.is_set():
            self._stopping.set()
            end_within_s = self._settings.grace_s + END_WITHIN_S
            asyncio.get_running_loop().call_later(end_within_s, self._kill)
        for child in self._children.values():
            _tell_to_stop(child)

    def _kill(self) -> None:
        """End the children that hear no signal, as one that is stuck in its import."""
        for number, child in self._children.items():
            if child.returncode is None:
                log.error(Event.WORKER_KILLED, number=number)
                with suppress(ProcessLookupError):
                    child.kill()

    async def keep(self, number: int) -> int:
        """Keep one child alive until the fleet stops; return its exit code."""
        deaths, code, has_worked = 0, 0, False
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_child(number)
            if self._stopping.is_set():
                break
            is_well = time.monotonic() - began > WELL_AFTER_S
            has_worked = has_worked or is_well
            deaths = 1 if is_well else deaths + 1
            # what was right once may be right again, as a password that is being changed
            is_wrong = code == ExitCode.WRONG_USE and not has_worked
            if is_wrong or deaths >= MOST_DEATHS:
                self._give_up(number, code, deaths)
                break
            wait_s = BACKOFF.delay_s(deaths, after=None, draw=1.0)
            log.error(Event.WORKER_DIED, number=number, exit_code=code, restart_in_s=wait_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
        # a child that was told to stop before it could listen held nothing yet
        is_told = code == -signal.SIGTERM
        return 0 if is_told else code if code >= 0 else BY_SIGNAL - code

    async def _run_child(self, number: int) -> int:
        """Run a child to its end; return its exit code, or minus the signal that ended it."""
        try:
            child = await self._start(number)
        except OSError as error:  # no memory, or no process left
            log.error(Event.WORKER_NOT_STARTED, number=number, error_message=str(error))
            return 1
        self._children[number] = child
        if self._stopping.is_set():  # it was told to while it started
            _tell_to_stop(child)
        return await child.wait()

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        port = self._settings.worker_port
        name = self._settings.worker_name
        changes = {f"{PREFIX}WORKER_PORT": str(port + number if port else 0)}
        if name:
            changes[f"{PREFIX}WORKER_NAME"] = f"{name}-{number}"
        command = (sys.executable, "-m", "program_executor", "work", "--child", *self._arguments)
        # a group of its own: Ctrl-C reaches the parent alone, which passes it on once
        return await asyncio.create_subprocess_exec(
            *command, env=os.environ | changes, stdin=subprocess.PIPE, start_new_session=True
        )

    def _give_up(self, number: int, code: int, deaths: int) -> None:
        times = "once" if deaths == 1 else f"{deaths} times in a row"
        reason = f"worker process {number} ended {times}, with exit code {code}"
        self.failed = self.failed or Failed(number, reason)
        self.stop()


def _tell_to_stop(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it ended just now
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
