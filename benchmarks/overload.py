"""Drain a long queue: 200,000 programs wait when two workers start.

    python benchmarks/overload.py --database postgresql://… --amqp amqp://… --programs 200000

Prints the memory of every process, how long the API takes to answer meanwhile, how many wake-ups
were sent, and the programs per second. Everything is durable; each program is one job that does
nothing.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from program_executor import JobContext, job

COMMAND = Path(sys.executable).with_name("program-executor")
BATCH = 500
WORKERS = 2
PORT, WORKER_PORT = 9_761, 9_762
LOOK_EVERY_S = 0.2
MIB = 1_024
"""What /proc says in KiB, in MiB."""

JOB = "overload_nothing"


@job(JOB)
async def nothing(_ctx: JobContext) -> None:
    """Do nothing."""


@dataclass(slots=True)
class Process:
    """A process of ours, and the memory it had when it began to matter, at most, and at the end."""

    name: str
    popen: "subprocess.Popen[bytes]"
    metrics_url: str
    before: int = 0
    peak: int = 0
    after: int = 0

    def rss(self) -> int:
        """Return its resident memory in MiB."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) // MIB

    def look(self) -> None:
        """Remember the most that it had."""
        self.peak = max(self.peak, self.rss())


@dataclass(slots=True)
class Asked:
    """How long the API took to answer, in milliseconds; /livez only tells how busy the CPUs are."""

    livez_ms: list[float] = field(default_factory=list)
    list_ms: list[float] = field(default_factory=list)
    show_ms: list[float] = field(default_factory=list)


def settings_of(arguments: argparse.Namespace, name: str) -> dict[str, str]:
    """Return the environment of all processes."""
    settings = {
        "DATABASE_URL": arguments.database,
        "AMQP_URL": arguments.amqp,
        "TABLE_NAME": name,
        "QUEUE_NAME": name,
        "PORT": str(PORT),
        "UNKNOWN_JOBS": "accept",
        "JOBS": "overload",
    }
    chosen = {f"PROGRAM_EXECUTOR_{key}": value for key, value in settings.items()}
    return os.environ | chosen | {"PYTHONPATH": str(Path(__file__).parent)}


@contextmanager
def serving(environment: dict[str, str], log: Path) -> Iterator[Process]:
    """Run a service, whose log is kept."""
    with log.open("wb") as file:
        popen = subprocess.Popen([COMMAND, "serve"], env=environment, stderr=file)
        try:
            yield Process("service", popen, f"http://127.0.0.1:{PORT}/metrics")
        finally:
            _stop([popen])


@contextmanager
def working(environment: dict[str, str]) -> Iterator[list[Process]]:
    """Run the workers."""
    processes = []
    for number in range(WORKERS):
        port = WORKER_PORT + number
        own = environment | {"PROGRAM_EXECUTOR_WORKER_PORT": str(port)}
        popen = subprocess.Popen([COMMAND, "work"], env=own, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}/metrics"
        processes.append(Process(f"worker {number + 1}", popen, url))
    try:
        yield processes
    finally:
        _stop([process.popen for process in processes])


def _stop(popens: "list[subprocess.Popen[bytes]]") -> None:
    for popen in popens:
        popen.send_signal(signal.SIGTERM)
    for popen in popens:
        popen.wait()


async def answers(client: httpx.AsyncClient, url: str) -> None:
    """Wait until something answers there."""
    while True:
        try:
            if (await client.get(url)).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(LOOK_EVERY_S)


async def submit(client: httpx.AsyncClient, programs: int) -> list[str]:
    """Submit so many programs, and return some of their run_ids."""
    some = []
    for _ in range(programs // BATCH):
        body = {"programs": [{"jobs": [JOB]}] * BATCH}
        answer = await client.post("/programs/batch", json=body)
        answer.raise_for_status()
        some.append(answer.json()["programs"][0]["run_id"])
    return some


async def drain(client: httpx.AsyncClient, processes: list[Process], some: list[str]) -> Asked:
    """Ask the API until nothing is left to do."""
    asked, turn = Asked(), 0
    while True:
        for process in processes:
            process.look()
        await timed(client, "/livez", asked.livez_ms)
        await timed(client, "/programs?limit=50", asked.list_ms)
        await timed(client, f"/programs/{some[turn % len(some)]}", asked.show_ms)
        left = await client.get("/programs?in_progress=true&order=oldest&limit=1")
        if not left.raise_for_status().json()["programs"]:
            return asked
        turn += 1
        await asyncio.sleep(LOOK_EVERY_S)


async def timed(client: httpx.AsyncClient, path: str, times_ms: list[float]) -> None:
    """Ask once, and note how long it took."""
    began = time.perf_counter()
    (await client.get(path)).raise_for_status()
    times_ms.append((time.perf_counter() - began) * 1_000)


async def counted(client: httpx.AsyncClient, process: Process, name: str) -> dict[str, int]:
    """Return {label: count} of a counter that has one label."""
    text = (await client.get(process.metrics_url)).text
    lines = [line for line in text.splitlines() if line.startswith(f"program_executor_{name}{{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


def woken_again(log: Path) -> int:
    """Return for how many programs the sweeper took a wake-up for lost."""
    events: list[dict[str, Any]] = [
        orjson.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")
    ]
    return sum(event["programs"] for event in events if event["event"] == "wakeup.again")


def show(name: str, times_ms: list[float]) -> None:
    """Print the median and the 99th percentile."""
    p99 = statistics.quantiles(times_ms, n=100)[-1]
    median = statistics.median(times_ms)
    print(f"{name}: median {median:,.1f} ms, p99 {p99:,.1f} ms of {len(times_ms)}")


async def run(arguments: argparse.Namespace) -> None:
    """Queue, drain, print."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    environment = settings_of(arguments, name)
    limits = httpx.Limits(max_keepalive_connections=5)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "service.log"
        url = f"http://127.0.0.1:{PORT}"
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            with serving(environment, log) as service:
                await answers(client, "/readyz")
                service.before = service.rss()
                began = time.perf_counter()
                some = await submit(client, arguments.programs)
                took = time.perf_counter() - began
                print(f"submitted: {arguments.programs / took:,.0f} programs/s")
                service.look()
                print(f"service: {service.rss()} MiB with all of them queued", flush=True)
                with working(environment) as workers:
                    await measure(client, [service, *workers], some, arguments.programs)
        print(f"programs woken again, as the wake-up seemed lost: {woken_again(log):,}")


async def measure(
    client: httpx.AsyncClient, processes: list[Process], some: list[str], programs: int
) -> None:
    """Drain, and print what was seen."""
    service, *workers = processes
    for worker in workers:
        await answers(client, worker.metrics_url)
        worker.before = worker.rss()
    began = time.perf_counter()
    asked = await drain(client, processes, some)
    took = time.perf_counter() - began
    print(f"drained: {programs / took:,.0f} programs/s")
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    show("GET /livez", asked.livez_ms)
    show("GET /programs?limit=50", asked.list_ms)
    show("GET /programs/{run_id}", asked.show_ms)
    for process in processes:
        process.after = process.rss()
        print(
            f"{process.name}: {process.before} MiB before, {process.peak} at peak,"
            f" {process.after} after"
        )
    published = await counted(client, service, "wakeups_published_total")
    print(f"wake-ups that the service sent, each for up to 32 programs: {published}")
    for worker in workers:
        received = await counted(client, worker, "wakeups_received_total")
        print(f"{worker.name} received: {received}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--amqp", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--programs", type=int, default=200_000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
