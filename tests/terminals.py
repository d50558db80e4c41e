"""Terminals: shells that keep their folder and variables; commands are typed one by one."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from networks import Network

PATIENCE_S = 100.0
LOOK_EVERY_S = 0.02
END = "-- typed --"


@dataclass(frozen=True, slots=True)
class Room:
    """What all terminals of a person share: a network, and the variables of a new shell."""

    network: Network
    variables: dict[str, str]
    logs: Path
    patience_s: float = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command wrote, on both streams, and how it ended."""

    code: int
    text: str


@dataclass(slots=True)
class Server:
    """A command that goes on until Ctrl-C, and keeps its terminal for itself."""

    command: str
    group: int
    log: Path

    @property
    def is_there(self) -> bool:
        """Say whether it still runs."""
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        return True

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Press Ctrl-C."""
        with suppress(ProcessLookupError):
            os.killpg(self.group, number)


@dataclass(slots=True)
class Terminal:
    """A bash that was just opened in a folder; a variable that was never set is an error."""

    room: Room
    folder: Path
    servers: list[Server] = field(default_factory=list)
    _log: Path = field(init=False)
    _shell: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        number = len(list(self.room.logs.iterdir()))
        self._log = self.room.logs / f"terminal-{number}.log"
        with self._log.open("w") as log:
            self._shell = subprocess.Popen(
                [*self.room.network.prefix, "bash", "--noprofile", "--norc"],
                cwd=self.folder,
                env=self.room.variables,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        # as at a prompt, each command is a process group of its own, which Ctrl-C reaches alone
        self.type("set -um")

    def type(self, command: str) -> Shown:
        """Type a command, and wait for its end."""
        start = self._log.stat().st_size
        self._send(f"{command}\nprintf '\\n{END}%d\\n' $?\n")
        end = re.compile(rf"\n{END}(\d+)\n")
        deadline = time.monotonic() + self.room.patience_s
        while not (ended := end.search(self._written(start))):
            text = self._written(start)
            assert self._shell.poll() is None, f"the shell has ended:\n{command}\n{text}"
            assert time.monotonic() < deadline, f"it does not end:\n{command}\n{text}"
            time.sleep(LOOK_EVERY_S)
        return Shown(int(ended[1]), self._written(start)[: ended.start()])

    def serve(self, command: str) -> Server:
        """Type a command that goes on; the terminal takes nothing more until it has ended."""
        log = self.room.logs / f"server-{len(list(self.room.logs.iterdir()))}.log"
        log.touch()
        body, _, _ = command.partition(" #")
        shown = self.type(f"{{ {body.strip()} ; }} > {log} 2>&1 &\necho group $!")
        group = re.search(r"^group (\d+)$", shown.text, re.MULTILINE)
        assert group, shown.text
        server = Server(command, int(group[1]), log)
        self.servers.append(server)
        return server

    def stop(self) -> None:
        """Press Ctrl-C, and wait until the prompt is back."""
        for server in self.servers:
            server.interrupt()
            self.type(f"wait {server.group} || true")
        self.servers.clear()

    @property
    def current_folder(self) -> Path:
        """Where it is now."""
        return Path(self.type("pwd").text.strip())

    def close(self) -> None:
        """End everything that was started in it."""
        with suppress(AssertionError, OSError):
            jobs = self.type("jobs -p").text.split()
            for group in jobs:
                with suppress(ProcessLookupError):
                    os.killpg(int(group), signal.SIGKILL)
        self._shell.kill()
        with suppress(OSError):
            self._shell.communicate()

    def _send(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def _written(self, start: int) -> str:
        return self._log.read_bytes()[start:].decode(errors="replace")
