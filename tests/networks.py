"""Networks: one of a test's own, in which every port is free; else this machine's."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FORWARDING = Path(__file__).with_name("forwarding.py")
AS_ROOT_OF_ITS_OWN = ["--user", "--map-root-user"]

# up goes the loopback (SIOCSIFFLAGS: IFF_UP and IFF_RUNNING), and then it waits to be killed
KEEPER = """
import fcntl, signal, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))
print("up", flush=True)
signal.pause()
"""


class NoNetworkError(Exception):
    """No network of its own is to be had, and ports of the machine's are taken."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where commands run; `prefix` stands before each of them."""

    prefix: tuple[str, ...]
    folder: Path
    """Where sockets in files are kept."""

    @contextmanager
    def reaching(self, *urls: str) -> Iterator[None]:
        """Have servers of this machine answer in the network, at the ports of these URLs."""
        with ExitStack() as stack:
            if self.prefix:
                for port in (urlsplit(url).port for url in urls):
                    file = f"unix:{self.folder / str(port)}"
                    stack.enter_context(_process((), FORWARDING, file, f"tcp:{port}"))
                    stack.enter_context(_process(self.prefix, FORWARDING, f"tcp:{port}", file))
            yield


@contextmanager
def own_network(folder: Path, *ports: int) -> Iterator[Network]:
    """Yield a network namespace; where there may be none, the machine's network.

    Raises:
        NoNetworkError: it is the machine's, and one of these ports is taken.
    """
    kinds: list[list[str]] = [[], AS_ROOT_OF_ITS_OWN] if os.geteuid() == 0 else [AS_ROOT_OF_ITS_OWN]
    for kind in kinds:
        with ExitStack() as stack:
            try:
                command = ("unshare", "--net", *kind)
                pid = stack.enter_context(_process(command, "-c", KEEPER))
            except OSError:
                continue
            enter = ["--user", "--preserve-credentials"] if kind else []
            yield Network(("nsenter", "--target", str(pid), "--net", *enter), folder)
            return
    yield the_machines(folder, *ports)


def the_machines(folder: Path, *ports: int) -> Network:
    """Return this machine's network, which leads to the world.

    Raises:
        NoNetworkError: one of these ports is taken.
    """
    if taken := [port for port in ports if _is_taken(port)]:
        msg = f"something else listens on {taken}"
        raise NoNetworkError(msg)
    return Network((), folder)


@contextmanager
def _process(prefix: tuple[str, ...], *words: str | Path) -> Iterator[int]:
    """Yield the id of a Python that has said its first word.

    Raises:
        OSError: it could not be started, or said nothing.
    """
    with subprocess.Popen(
        [*prefix, sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                msg = f"{prefix} ended at once"
                raise OSError(msg)
            yield process.pid
        finally:
            process.kill()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
