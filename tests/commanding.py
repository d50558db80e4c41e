"""Commanding: the console script `program-executor` as people use it, in pipes and on terminals."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyte

COMMAND = Path(sys.executable).with_name("program-executor")
PREFIX = "PROGRAM_EXECUTOR_"
PATIENCE_S = 60.0
CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command said in pipes, and how it ended."""

    code: int | None
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        assert self.errors == ""
        return json.loads(self.output)

    @property
    def rows(self) -> list[list[str]]:
        """What it printed, as lines with tabs."""
        assert (self.code, self.errors) == (0, "")
        return [line.split("\t") for line in self.output.splitlines()]

    @property
    def error(self) -> str:
        """The one line that it said of what was wrong."""
        assert self.output == ""
        (line,) = self.errors.splitlines()
        return line.removeprefix("error: ")


@dataclass(frozen=True, slots=True)
class Shell:
    """A person's shell: a folder to be in, a home, and the variables that were exported."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command: ours, and none of whoever runs the tests."""
        strange = {"COLUMNS", "LINES"}  # they would overrule the size of the terminal
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) and name not in strange
        }
        own = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return {**inherited, **own, "TERM": "xterm-256color", **self.variables}

    def exporting(self, **settings: str) -> "Shell":
        """Return a shell with these variables, too."""
        named = {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
        return Shell(self.folder, {**self.variables, **named})

    async def run(self, *arguments: str, typed: str = "") -> Ran:
        """Run a command in pipes, to its end."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self.environment,
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                output, errors = await process.communicate(typed.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        ran = Ran(process.returncode, output.decode(), errors.decode())
        assert "Traceback" not in ran.errors, ran.errors
        return ran

    def on_terminal(self, *arguments: str, columns: int = 100, lines: int = 24) -> "Terminal":
        """Start a command on a terminal of this size."""
        return Terminal(self, arguments, columns, lines)


class Terminal:
    """A command on a pseudo-terminal, and the screen that it draws, as an emulator sees it."""

    def __init__(self, shell: Shell, arguments: tuple[str, ...], columns: int, lines: int) -> None:
        """Start the command."""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self._process = subprocess.Popen(
            [COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=shell.environment,
            cwd=shell.folder,
            start_new_session=True,
        )
        os.close(theirs)
        self._reading = asyncio.create_task(asyncio.to_thread(self._read))

    def _read(self) -> None:
        while True:
            try:
                self._stream.feed(os.read(self._ours, CHUNK))
            except OSError:  # nobody has the other end any more
                return

    @property
    def screen(self) -> list[str]:
        """The lines that are to be seen."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    async def shows(self, *texts: str) -> bool:
        """Say whether these texts are to be seen, all at once."""
        seen = "\n".join(self.screen)
        return all(text in seen for text in texts)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        """Wait until the command has ended, and return its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
        return self._process.wait()

    async def close(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self._process.kill()
        await self._reading
        self._process.wait()
        os.close(self._ours)
