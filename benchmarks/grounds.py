"""Grounds: PostgreSQL, RabbitMQ and Redis of the benchmark's own, durable by default."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

ROOT = Path(__file__).parents[1]
BENCH = ROOT / ".bench"
sys.path.append(str(ROOT / "tests"))

from private_postgres import PrivatePostgres, free_port, private_postgres  # noqa: E402
from private_rabbitmq import PrivateRabbit, private_rabbitmq  # noqa: E402

SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
STOP_WITHIN_S = 60  # more than a worker's grace time
FLUSHES = 200
PAGE_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Grounds:
    """The servers of one benchmark; each system gets a database and a virtual host of its own."""

    postgres: PrivatePostgres
    rabbit: PrivateRabbit
    redis_url: str | None

    async def pids(self) -> dict[str, int]:
        """Return {server: the process that its others descend from}."""
        postmaster = str(await fetch(self.postgres.url, "SELECT pg_read_file('postmaster.pid')"))
        node = re.sub(r"\D", "", self.rabbit.control("eval", "os:getpid()."))
        return {"postgresql": int(postmaster.split(maxsplit=1)[0]), "rabbitmq": int(node)}

    async def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        await fetch(self.postgres.url, f"CREATE DATABASE {name}")
        return self.postgres.url.removesuffix("postgres") + name

    async def drop_database(self, url: str) -> None:
        """Drop it, and write to disk what others left, so that nobody pays for a neighbour."""
        name = url.rpartition("/")[2]
        await fetch(self.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")
        await fetch(self.postgres.url, "CHECKPOINT")

    def new_vhost(self) -> str:
        """Make an empty virtual host and return its URL."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        self.rabbit.control("add_vhost", name)
        self.rabbit.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.rabbit.url + name

    def drop_vhost(self, url: str) -> None:
        """Delete it with its queues."""
        self.rabbit.control("delete_vhost", url.rpartition("/")[2])

    @asynccontextmanager
    async def place(self) -> AsyncIterator[tuple[str, str]]:
        """Lend an empty database and an empty virtual host; yield their URLs."""
        database, vhost = await self.new_database(), self.new_vhost()
        try:
            yield database, vhost
        finally:
            await self.drop_database(database)
            self.drop_vhost(vhost)

    async def described(self) -> dict[str, str]:
        """Return what the servers are and how durable."""
        url = self.postgres.url
        said = {f"postgresql {name}": str(await fetch(url, f"SHOW {name}")) for name in SHOWN}
        said["the disk writes 8 KiB for good in"] = f"{flush_s() * 1_000:.2f} ms"
        said["rabbitmq"] = self.rabbit.control("version")
        said["redis"] = "appendonly yes, appendfsync always" if self.redis_url else "not installed"
        return said


@contextmanager
def grounds() -> Iterator[Grounds]:
    """Start the servers, and stop them after."""
    BENCH.mkdir(exist_ok=True)
    with private_postgres() as postgres, private_rabbitmq() as rabbit, _redis() as redis_url:
        yield Grounds(postgres, rabbit, redis_url)


@contextmanager
def _redis() -> Iterator[str | None]:
    """Start a Redis that loses nothing, if it is installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    port = free_port()
    durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    with tempfile.TemporaryDirectory(prefix="program-executor-redis-") as folder:
        command = [binary, "--port", str(port), "--dir", folder, *durable]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(STOP_WITHIN_S)


def flush_s() -> float:
    """Measure the median time of a write with fdatasync, which each commit has to wait for."""
    times = []
    with tempfile.NamedTemporaryFile(prefix="program-executor-flush-") as file:
        for _ in range(FLUSHES):
            began = time.perf_counter()
            os.pwrite(file.fileno(), bytes(PAGE_BYTES), 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


async def fetch(url: str, query: str) -> Any:
    """Run a statement, and return the first value that it finds."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
