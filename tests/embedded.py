"""Embedded: `program-executor dev` as people start it, a process of its own."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from processes import COMMAND, PREFIX

PATIENCE_S = 100.0
ADDRESS = re.compile(r"^API +(http://127\.0\.0\.1:\d+)/programs")


class Dev:
    """A running `program-executor dev`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take a process with pipes."""
        self._process = process
        self.said: list[str] = []

    async def until_it_says(self, text: str) -> str:
        """Read its output until a line begins with this, and return that line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self._process.stdout.readline()).decode():
                self.said.append(line)
                if line.startswith(text):
                    return line
        message = f"{text!r} was not said: {self.said}"
        raise AssertionError(message)

    async def address(self) -> str:
        """Return where its API is."""
        found = ADDRESS.match(await self.until_it_says("API"))
        assert found
        return found[1]

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> tuple[int | None, str, str]:
        """Wait until it has ended, and return exit code, output and errors."""
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await self._process.communicate()
        return self._process.returncode, "".join(self.said) + output.decode(), errors.decode()

    async def end(self) -> None:
        """Kill it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@asynccontextmanager
async def dev(
    *options: str,
    command: Path = COMMAND,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncGenerator[Dev]:
    """Start `program-executor dev` in a folder, in our environment without settings or another."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    words = (str(command), "dev", *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words,
        env=ours if environment is None else environment,
        cwd=folder,
        stdout=pipe,
        stderr=pipe,
    )
    running = Dev(process)
    try:
        yield running
    finally:
        await running.end()
