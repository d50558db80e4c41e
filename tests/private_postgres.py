"""A PostgreSQL of the tests' own, from the installed Debian packages."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import sqlalchemy as sa

from debian import why_not_installed

PACKAGES = Path("/usr/lib/postgresql")

CONNECT_TIMEOUT_S = 5
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15


class NoPostgresError(Exception):
    """No PostgreSQL is to be had; the message says what was missing."""


class PrivatePostgres:
    """A server with its own folder and port, our own child, so that it may be killed."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        """Make the cluster's files; `start` runs it."""
        self.port = free_port()
        self._folder = folder
        self._log = folder / "log"
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            # not runuser: that would be our child, and the server only its grandchild
            self._as |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        self._make_cluster()

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            NoPostgresError: it ended, or does not answer in time; the message ends with its log.
        """
        process = self._process = self._launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.url):
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                msg = f"a private server did not start: {self._log.read_text()[-500:]}"
                raise NoPostgresError(msg)
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": clients are disconnected
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak TLS, too, from now on."""
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            copy = Path(shutil.copy(source, self._folder / "data" / name))
            copy.chmod(0o600)
            if "user" in self._as:
                shutil.chown(copy, self._as["user"], self._as["group"])
        execute(self.url, "ALTER SYSTEM SET ssl = on")
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill it with SIGKILL; `start` brings it back."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def _launch(self) -> subprocess.Popen[bytes]:
        folder, port = str(self._folder), str(self.port)
        command = [f"{self._binaries}/postgres", "-D", f"{folder}/data", "-k", folder, "-p", port]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, "-h", "127.0.0.1"],
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the tests, which stop the server when they end
                **self._as,
            )

    def _make_cluster(self) -> None:
        initdb = [f"{self._binaries}/initdb", "--no-sync", "-A", "trust", "-U", "postgres"]
        done = subprocess.run(
            [*initdb, "-D", f"{self._folder}/data"],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            **self._as,
        )
        if done.returncode != 0:
            msg = f"initdb failed: {done.stderr[-500:]}"
            raise NoPostgresError(msg)


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Start a PostgreSQL of our own, installing it when we are root; stop it after.

    Raises:
        NoPostgresError: it is not installed and cannot be, or does not start.
    """
    binaries = _installed() or _install()
    folder = Path(tempfile.mkdtemp(prefix="program-executor-postgres-"))
    try:
        server = PrivatePostgres(folder, binaries)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> Path | None:
    versions = sorted(PACKAGES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _install() -> Path:
    why_not = why_not_installed("postgresql")
    binaries = _installed()
    if binaries is None:
        msg = f"no server answers, and {PACKAGES} is empty: {why_not}"
        raise NoPostgresError(msg)
    return binaries


def answers(url: str) -> bool:
    """Say whether a PostgreSQL answers there and lets us in."""
    try:
        execute(url, "SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def execute(url: str, statement: str) -> None:
    """Run one statement outside of any transaction, from code that is not async."""
    dsn = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        try:
            await connection.execute(statement, timeout=START_TIMEOUT_S)
        finally:
            await connection.close()

    asyncio.run(connect_and_execute())


def free_ports_in_a_row(count: int) -> int:
    """Return the first of so many ports of 127.0.0.1 that nobody listens on.

    They are below those that the system gives to whoever connects: the one after a port that a
    listener got is soon taken by somebody who connects (tried: 3 of 30 times on a busy machine).
    """
    while True:
        first = random.randrange(20_000, 32_000)
        if all(map(_is_free, range(first, first + count))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
