"""Forking: start commands as forks of one process that has imported everything.

A Python that starts is busy with imports for seconds; a fork of one that has them is there at once.
Run as a program this is that process: it reads orders, a line each, and answers each with a pid.
What became of a fork stands in a file beside its log.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, Self

Json = dict[str, Any]

LOOK_EVERY_S = 0.02


class Fork:
    """A running fork, as `subprocess.Popen` would show it."""

    def __init__(self, pid: int, fate: Path) -> None:
        """Take its pid, and the file that will hold its exit code."""
        self.pid = pid
        self.returncode = 0
        self._fate = fate

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if not self._fate.exists():
            return None
        self.returncode = int(self._fate.read_text())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Forker:
    """The process whose forks are the commands."""

    def __init__(self, orders: "subprocess.Popen[str]") -> None:
        """Take the process, which answers orders."""
        self._orders = orders

    @classmethod
    def start(cls) -> Self:
        """Start it; its first answer comes when it has imported everything."""
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))

    def launch(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Fork:
        """Run `program-executor` with these arguments, in the folder of its log."""
        assert self._orders.stdin is not None
        assert self._orders.stdout is not None
        order = {"arguments": arguments, "environment": dict(environment), "log": str(log)}
        self._orders.stdin.write(json.dumps(order) + "\n")
        self._orders.stdin.flush()
        return Fork(int(self._orders.stdout.readline()), fate_of(log))

    def stop(self) -> None:
        """End it, by the end of its orders."""
        self._orders.communicate()


@contextmanager
def forking() -> Iterator[Forker]:
    """Have a process to fork from."""
    forker = Forker.start()
    try:
        yield forker
    finally:
        forker.stop()


def fate_of(log: Path) -> Path:
    """Return the file that holds the exit code of the command with this log."""
    return log.with_suffix(".exit")


def main() -> None:
    """Fork by order, and note what becomes of the forks."""
    import uvloop  # noqa: F401, PLC0415

    import program_executor.serve  # noqa: F401, PLC0415 - once, for all forks
    import program_executor.work  # noqa: F401, PLC0415

    logs: dict[int, Path] = {}
    orders = sys.stdin.fileno()
    text = b""
    while True:
        note_ends(logs)
        if not select([orders], [], [], LOOK_EVERY_S)[0]:
            continue
        more = os.read(orders, 65_536)
        if not more:
            return
        *lines, text = (text + more).split(b"\n")
        for order in map(json.loads, lines):
            pid = os.fork()
            if pid == 0:
                become(order)
            logs[pid] = Path(order["log"])
            print(pid, flush=True)


def note_ends(logs: dict[int, Path]) -> None:
    """Write down the exit codes of forks that have ended."""
    while logs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fate = fate_of(logs.pop(pid))
        unfinished = fate.with_suffix(".unfinished")
        unfinished.write_text(str(os.waitstatus_to_exitcode(status)))
        unfinished.rename(fate)


def become(order: Json) -> None:
    """Be the command; this does not return."""
    from program_executor import cli  # noqa: PLC0415
    from program_service import crashpoints  # noqa: PLC0415

    os.setpgid(0, 0)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(Path(order["log"]).parent)
    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
    sys.argv = ["program-executor", *order["arguments"]]
    crashpoints._aim = crashpoints.aim_from(os.environ)  # it was imported before
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        cli.main()
    finally:
        sys.stderr.flush()
    sys.exit(0)


if __name__ == "__main__":
    main()
