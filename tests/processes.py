"""Processes: the real `program-executor serve` and `work`, started, killed and asked over HTTP."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx

from patience import eventually
from private_postgres import free_port

Json = dict[str, Any]

COMMAND = Path(sys.executable).with_name("program-executor")
JOBS_FOLDER = Path(__file__).parent
JOURNAL_VARIABLE = "TEST_JOURNAL"
PREFIX = "PROGRAM_EXECUTOR_"

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 60.0

QUICK = {
    "sweep_interval_s": 0.3,
    "wake_again_s": 1.0,
    "worker_beat_s": 1.0,
    "grace_s": 20.0,
    "lease_s": 30.0,
}
"""Settings of tests: what is lost is looked for soon; leases are as long as in production."""

PRODUCTION = {"sweep_interval_s": 1.0, "wake_again_s": 30.0, "worker_beat_s": 5.0}
"""The defaults of the product, for tests of how long something takes."""


class Running(Protocol):
    """A process that was launched."""

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def returncode(self) -> int:
        """How it ended."""

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal."""


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Running]


def spawner(command: Path) -> Launch:
    """Run this `program-executor`, in the folder of its log."""

    def launch(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Running:
        with log.open("wb") as file:
            return subprocess.Popen(
                [command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                cwd=log.parent,
                process_group=0,  # Ctrl-C is for the tests, which stop it when they end
            )

    return launch


spawn = spawner(COMMAND)


def import_path(*folders: Path) -> str:
    """Return a PYTHONPATH of these folders and ours, which may lead to a mutant of the product."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


class Process:
    """A running `serve` or `work`."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        *,
        port: int = 0,
        launch: Launch = spawn,
    ) -> None:
        """Start it, on a free port or this one; its log is a file in the folder of the journal."""
        self.name = name
        self.port = port or free_port()
        self._log = Path(environment[JOURNAL_VARIABLE]).with_name(f"{name}.log")
        self._process = launch([*arguments, "--port", str(self.port)], environment, self._log)
        self._was_told_to_end = False
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def look_alive(self) -> None:
        """Raise what it logged last, if it ended by itself."""
        assert self.is_alive or self._was_told_to_end, f"{self.name} ended: {self.log[-2000:]}"

    async def ready(self) -> None:
        """Wait until it says that it is ready."""

        async def is_ready() -> bool:
            self.look_alive()
            try:
                return (await self.client.get("/readyz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await eventually(is_ready, within_s=READY_WITHIN_S)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._was_told_to_end |= number in {signal.SIGTERM, signal.SIGINT, signal.SIGKILL}
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """Send it SIGTERM and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, *, within_s: float = STOP_WITHIN_S) -> int:
        """Wait until it has ended, and return its exit code."""

        async def has_ended() -> bool:
            return not self.is_alive

        await eventually(has_ended, within_s=within_s)
        return self._process.returncode

    async def died(self, *, within_s: float = STOP_WITHIN_S) -> int:
        """Wait until it has ended by itself, as a test wants it to, and return its exit code."""
        self._was_told_to_end = True
        return await self.ended(within_s=within_s)

    async def count(self, name: str, **labels: str) -> float:
        """Return the sum of a counter's series that have these labels; 0 when there is none."""
        text = (await self.client.get("/metrics")).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith(
                (f"program_executor_{name}_total{{", f"program_executor_{name}_total ")
            )
            and all(each in line for each in wanted)
        )

    async def close(self) -> None:
        """End it, however it is."""
        await self.client.aclose()
        if self.is_alive:
            await self.kill()


@dataclass(slots=True)
class Deployment:
    """One deployment: a table, queues, a journal, and all processes that work on them."""

    folder: Path
    database_url: str
    amqp_url: str
    queue_name: str
    table_name: str
    settings: Json = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    launch: Launch = spawn
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def journal(self) -> Path:
        """The file that jobs write to."""
        return self.folder / "journal"

    def start_serve(self, **settings: Any) -> Process:
        """Start a service."""
        name = f"service-{next(self._numbers)}"
        return self._start(name, ["serve"], settings)

    async def serve(self, **settings: Any) -> Process:
        """Start a service and wait until it is ready."""
        service = self.start_serve(**settings)
        await service.ready()
        return service

    async def serve_at(self, port: int) -> Process:
        """Start a service on a port that another one had, and wait until it is ready."""
        service = self._start(f"service-{next(self._numbers)}", ["serve"], {}, port=port)
        await service.ready()
        return service

    def start_work(
        self,
        *,
        modules: Sequence[str] = ("jobs_file",),
        name: str = "",
        port: int = 0,
        **settings: Any,
    ) -> Process:
        """Start a worker that knows the jobs of these modules of `tests`."""
        name = name or f"worker-{next(self._numbers)}"
        return self._start(name, ["work", *modules], {"worker_name": name} | settings, port=port)

    async def work(self, **options: Any) -> Process:
        """Start a worker and wait until it is ready."""
        worker = self.start_work(**options)
        await worker.ready()
        return worker

    async def migrate(self) -> None:
        """Bring the tables up to date, as somebody does who types it."""
        log = self.folder / f"migrate-{next(self._numbers)}.log"
        migrating = self.launch(["migrate"], self._environment({}), log)

        async def has_ended() -> bool:
            return migrating.poll() is not None

        await eventually(has_ended, within_s=READY_WITHIN_S)
        assert migrating.returncode == 0, log.read_text()

    def _start(self, name: str, arguments: list[str], settings: Json, *, port: int = 0) -> Process:
        environment = self._environment(settings)
        process = Process(name, arguments, environment, port=port, launch=self.launch)
        self.processes.append(process)
        return self.processes[-1]

    def _environment(self, settings: Json) -> dict[str, str]:
        chosen = {
            "database_url": self.database_url,
            "amqp_url": self.amqp_url,
            "queue_name": self.queue_name,
            "table_name": self.table_name,
            **QUICK,
            **self.settings,
            **settings,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        return inherited | {
            "PYTHONPATH": import_path(JOBS_FOLDER),
            JOURNAL_VARIABLE: str(self.journal),
            **{f"{PREFIX}{key.upper()}": str(value) for key, value in chosen.items()},
        }

    async def close(self) -> None:
        """End all that still runs."""
        for process in self.processes:
            await process.close()
