"""A MariaDB of the tests' own, from the installed Debian packages."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncmy
import sqlalchemy as sa
from asyncmy.errors import MySQLError

from debian import why_not_installed
from private_postgres import free_port

CONNECT_TIMEOUT_S = 5
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15


class NoMariaDbError(Exception):
    """No MariaDB is to be had; the message says what was missing."""


@contextmanager
def private_mariadb() -> Iterator[str]:
    """Start a MariaDB of our own, installing it when we are root; yield its URL, stop it after.

    Raises:
        NoMariaDbError: it is not installed and cannot be, or does not start.
    """
    if _server() is None and (why_not := why_not_installed("mariadb-server")) is not None:
        msg = f"no server answers, and there is no mariadbd: {why_not}"
        raise NoMariaDbError(msg)
    folder = Path(tempfile.mkdtemp(prefix="program-executor-mariadb-"))
    try:
        with _running(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "mysql", "group": "mysql", "extra_groups": []}
        shutil.chown(folder, "mysql", "mysql")
    data, log, port = folder / "data", folder / "log", free_port()
    install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal"]
    _require([*install, f"--datadir={data}", "--skip-test-db"], as_user)
    command = [str(_server()), "--no-defaults", f"--datadir={data}", f"--port={port}"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--bind-address=127.0.0.1", f"--socket={folder}/socket"],
            stdout=out,
            stderr=out,
            process_group=0,  # Ctrl-C is for the tests, which stop the server when they end
            **as_user,
        )
    try:
        url = f"mysql://root@127.0.0.1:{port}/mysql"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"a private server did not start: {log.read_text()[-500:]}"
                raise NoMariaDbError(msg)
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def _server() -> str | None:
    return shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")


def _require(command: list[str], as_user: dict[str, Any]) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=START_TIMEOUT_S, **as_user
    )
    if done.returncode != 0:
        msg = f"{command[0]} failed: {(done.stderr or done.stdout)[-500:]}"
        raise NoMariaDbError(msg)


def answers(url: str) -> bool:
    """Say whether a MariaDB answers there and lets us in."""
    try:
        execute(url, "SELECT 1")
    except (OSError, MySQLError):
        return False
    return True


def execute(url: str, *statements: str) -> None:
    """Run statements, from code that is not async."""
    parts = sa.make_url(url)

    async def connect_and_execute() -> None:
        connection = await asyncmy.connect(
            host=parts.host,
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
            database=parts.database or "",
            connect_timeout=CONNECT_TIMEOUT_S,
            autocommit=True,
        )
        try:
            async with connection.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(statement)
        finally:
            connection.close()

    asyncio.run(connect_and_execute())
