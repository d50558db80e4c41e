"""Peer runs: have a peer do what ours does, and measure it in the same way."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drains import PER, STEPS
from grounds import BENCH, STOP_WITHIN_S, Grounds
from measuring import Figures, cpu_s, peak_mib, percentiles_ms
from nothing import JOURNAL
from peer_installs import RESTATE, SCRIPTS, Peer
from private_postgres import free_port
from product import until

COMMAND_WITHIN_S = 900
LOAD_FOLDER = Path(__file__).parent


async def measure(peer: Peer, grounds: Grounds, programs: int, requests: int) -> Figures:
    """Submit, drain with one worker, and time single programs on the idle system."""
    async with grounds.place() as (database, vhost):
        with tempfile.TemporaryDirectory(prefix="program-executor-bench-") as folder:
            run = Run(peer, _variables(database, vhost, grounds, folder))
            with run.serving() if peer.is_restate else nullcontext(0) as server:
                run.ask("prepare")
                return await _measure(run, server, programs, requests)


async def _measure(run: "Run", server: int, programs: int, requests: int) -> Figures:
    if run.peer.is_restate:  # its server pushes: the worker must be there
        with run.working() as worker:
            figures = run.ask("submit", programs)
            return figures | await _drain(run, worker, server, programs, requests)
    figures = run.ask("submit", programs)
    with run.working() as worker:
        return figures | await _drain(run, worker, server, programs, requests)


async def _drain(run: "Run", worker: int, server: int, programs: int, requests: int) -> Figures:
    """Count the steps in the journal, from the first to the last program's end."""

    async def has_begun() -> bool:
        return run.steps("a") > 0

    async def has_ended() -> bool:
        return run.steps("c") >= programs

    await until(has_begun)
    began, used, server_used = time.perf_counter(), cpu_s(worker), cpu_s(server)
    await until(has_ended)
    took = time.perf_counter() - began
    steps = STEPS * programs / PER
    figures = {
        "drain_per_s": programs / took,
        "cpu_s_per_1000_steps": (cpu_s(worker) - used) / steps,
        "worker_peak_mib": peak_mib(worker),
        "steps_twice": run.steps("a") + run.steps("b") + run.steps("c") - STEPS * programs,
    }
    if server:
        figures["server_cpu_s_per_1000_steps"] = (cpu_s(server) - server_used) / steps
    return figures | percentiles_ms(run.ask("latency", requests)["seconds"])


def _variables(database: str, vhost: str, grounds: Grounds, folder: str) -> dict[str, str]:
    ports = {name: free_port() for name in ("ingress", "admin", "node", "app")}
    return {
        "DATABASE_URL": database,
        "AMQP_URL": vhost,
        "REDIS_URL": grounds.redis_url or "",
        "PYTHONPATH": str(LOAD_FOLDER),
        JOURNAL: f"{folder}/journal",
        "BENCH_PORT": str(ports["app"]),
        "RESTATE_INGRESS_URL": f"http://127.0.0.1:{ports['ingress']}",
        "RESTATE_ADMIN_URL": f"http://127.0.0.1:{ports['admin']}",
        "RESTATE_INGRESS__BIND_PORT": str(ports["ingress"]),
        "RESTATE_ADMIN__BIND_PORT": str(ports["admin"]),
        "RESTATE_BIND_PORT": str(ports["node"]),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_ADVERTISED_HOST": "127.0.0.1",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BASE_DIR": f"{folder}/restate",
        "RESTATE_LOG_FILTER": "error",
    }


@dataclass(slots=True)
class Run:
    """One run of a peer, on servers that are empty."""

    peer: Peer
    variables: dict[str, str]

    def steps(self, letter: str) -> int:
        """Return how often a step ran."""
        journal = Path(self.variables[JOURNAL])
        return journal.read_text().count(letter) if journal.exists() else 0

    def ask(self, command: str, programs: int = 0) -> dict[str, Any]:
        """Run a command of the script to its end, and return what it says."""
        done = subprocess.run(
            self._words(command, programs),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            **self._where(),
        )
        if done.returncode:
            msg = f"{self.peer.script} {command} failed: {done.stderr[-1500:]}"
            raise ChildProcessError(msg)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return dict(json.loads(lines[-1])) if lines else {}

    @contextmanager
    def working(self) -> Iterator[int]:
        """Run its worker until left; yield the process id."""
        with self._running(self._words("work")) as pid:
            yield pid

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Run Restate's server until left; yield the process id."""
        with self._running([str(RESTATE)]) as pid:
            yield pid

    @contextmanager
    def _running(self, command: list[str]) -> Iterator[int]:
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdout=nothing, stderr=nothing, process_group=0, **self._where()
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left behind, too
            process.wait(STOP_WITHIN_S)

    def _words(self, command: str, programs: int = 0) -> list[str]:
        python = str(BENCH / "venvs" / self.peer.environment / "bin/python")
        return [python, str(SCRIPTS / f"{self.peer.script}.py"), command, str(programs)]

    def _where(self) -> dict[str, Any]:
        return {"cwd": SCRIPTS, "env": os.environ | self.variables}
