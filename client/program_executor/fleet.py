"""Fleet: several worker processes under one parent, for `work --processes n`.

Each child is a worker of its own, with its own port for probes and metrics. The parent passes
signals on, brings back a child that died, and ends with the worst exit code of all. When the parent
is killed, its children drain and end: each reads a pipe that only the parent could write to.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from program_executor.processes import stop_on_signals
from program_service.logs import log
from program_service.settings import PREFIX, Settings
from program_service.telemetry import Event, configure_logging

BRING_BACK_AFTER_S = 1.0


async def run_fleet(settings: Settings, arguments: Sequence[str], *, processes: int) -> int:
    """Run worker processes until SIGTERM or Ctrl-C; return the worst exit code."""
    configure_logging(level=settings.log_level, is_json=settings.log_format == "json")
    fleet = Fleet(settings, arguments)
    with stop_on_signals(fleet.stop):
        async with asyncio.TaskGroup() as tasks:
            members = [tasks.create_task(fleet.keep(number)) for number in range(processes)]
    return max(member.result() for member in members)


class Fleet:
    """The children, by their number."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        """Start children with these arguments of `program-executor work`."""
        self._settings = settings
        self._arguments = arguments
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Pass a signal on; the children do the rest, also with a second one."""
        self._stopping.set()
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)

    async def keep(self, number: int) -> int:
        """Keep one child alive until the fleet stops; return its exit code."""
        while True:
            child = await self._start(number)
            code = await child.wait()
            if not self._stopping.is_set():
                log.error(Event.WORKER_DIED, number=number, exit_code=code)
                with suppress(TimeoutError):
                    async with asyncio.timeout(BRING_BACK_AFTER_S):
                        await self._stopping.wait()
            if self._stopping.is_set():
                # a child that was told to stop before it could listen held nothing yet
                return 0 if code == -signal.SIGTERM else abs(code)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        port = self._settings.worker_port
        name = self._settings.worker_name
        changes = {f"{PREFIX}WORKER_PORT": str(port + number if port else 0)}
        if name:
            changes[f"{PREFIX}WORKER_NAME"] = f"{name}-{number}"
        command = (sys.executable, "-m", "program_executor", "work", "--child", *self._arguments)
        # a group of its own: Ctrl-C reaches the parent alone, which passes it on once
        child = await asyncio.create_subprocess_exec(
            *command, env=os.environ | changes, stdin=subprocess.PIPE, start_new_session=True
        )
        self._children[number] = child
        return child
