"""Product: a deployment of ours with real processes, and what can be measured on it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from grounds import STOP_WITHIN_S
from load import CallFailed, Connection
from nothing import JOURNAL, NAMES
from private_postgres import free_port

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("program-executor")
BATCH = 500
SLOTS = 500
"""As many as the yardstick has."""

LOG_LEVEL = "INFO"
LOOK_EVERY_S = 0.01
WITHIN_S = 600.0

PROGRAM = {"jobs": list(NAMES), "program_data": {"global": "x" * 100}}
BODY = orjson.dumps(PROGRAM)

Popen = subprocess.Popen


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of ours, and where its probes are."""

    process: "Popen[bytes]"
    url: str

    async def ready(self) -> None:
        """Wait until it says that it is ready."""

        async def is_ready() -> bool:
            if self.process.poll() is not None:
                msg = f"{self.process.args!r} ended with {self.process.returncode}"
                raise ChildProcessError(msg)
            try:
                connection = await Connection.open(self.url)
                await connection.get("/readyz")
            except (OSError, CallFailed):
                return False
            await connection.close()
            return True

        await until(is_ready)


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Look until something holds.

    Raises:
        TimeoutError: it does not within ten minutes.
    """
    async with asyncio.timeout(WITHIN_S):
        while not await holds():
            await asyncio.sleep(LOOK_EVERY_S)


class Product:
    """Our service and our workers, on a database and a virtual host of their own."""

    def __init__(self, database_url: str, amqp_url: str, folder: Path, **settings: object) -> None:
        """Choose the settings; nothing runs yet."""
        self.database_url = database_url
        self.url = f"http://127.0.0.1:{free_port()}"
        self.journal = folder / "journal"
        self.service_pid = 0
        chosen: dict[str, object] = {
            "database_url": database_url,
            **({"amqp_url": amqp_url} if amqp_url else {}),
            "port": self.url.rpartition(":")[2],
            "unknown_jobs": "accept",
            "concurrency": SLOTS,
            "log_level": LOG_LEVEL,
            **settings,
        }
        self._environment = os.environ | {
            f"PROGRAM_EXECUTOR_{name.upper()}": str(value) for name, value in chosen.items()
        }
        self._environment |= {"PYTHONPATH": str(HERE), JOURNAL: str(self.journal)}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the service, which has an empty route beside ours, until left."""
        with self.running([sys.executable, str(HERE / "empty_route.py")]) as process:
            await Worker(process, self.url).ready()
            self.service_pid = process.pid
            yield

    @asynccontextmanager
    async def developing(self, folder: Path) -> AsyncIterator[None]:
        """Run `dev` instead, everything in one process."""
        with self.running([str(COMMAND), "dev", "nothing", "--data", str(folder)]) as process:
            await Worker(process, self.url).ready()
            yield

    @contextmanager
    def working(self, workers: int = 1, *modules: str) -> "Iterator[list[Worker]]":
        """Run workers until left; they may not be ready yet."""
        if workers == 0:
            yield []
            return
        port = free_port()
        command = [str(COMMAND), "work", *modules, "--port", str(port)]
        with self.running(command) as process, self.working(workers - 1, *modules) as others:
            yield [Worker(process, f"http://127.0.0.1:{port}"), *others]

    @contextmanager
    def running(self, command: list[str]) -> "Iterator[Popen[bytes]]":
        """Run a process with our settings until left."""
        process = Popen(
            command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_WITHIN_S)

    async def submit(self, programs: int, program: object = PROGRAM) -> float:
        """Submit in batches of 500, one after the other; return the programs per second."""
        connection = await Connection.open(self.url)
        began = time.perf_counter()
        for first in range(0, programs, BATCH):
            size = min(BATCH, programs - first)
            body = orjson.dumps({"programs": [program] * size})
            await connection.post("/programs/batch", body)
        took = time.perf_counter() - began
        await connection.close()
        return programs / took
