"""A Prometheus of the tests' own, from Debian's package, which scrapes every second.

It runs the committed configuration and rules, but looks every second, finds its targets in a file,
and has no patience: an alert fires after a second, and what counted over minutes counts over
`WINDOW`. The expressions are as they are committed.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from debian import why_not_installed
from patience import eventually
from private_postgres import free_port
from processes import Process

DEPLOY = Path(__file__).parents[1] / "deploy" / "prometheus"

WINDOW = "15s"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
LOOK_WITHIN_S = 60.0

Series = dict[str, Any]


class NoPrometheusError(Exception):
    """No Prometheus is to be had; the message says what was missing."""


def require_installed() -> None:
    """Install Prometheus, if it is not there and we may.

    Raises:
        NoPrometheusError: it is not there.
    """
    if shutil.which("prometheus") and shutil.which("promtool"):
        return
    if (why_not := why_not_installed("prometheus")) is not None:
        raise NoPrometheusError(why_not)


class PrivatePrometheus:
    """A server with its own folder and port."""

    def __init__(self, folder: Path) -> None:
        """Write its configuration; `start` runs it."""
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = _configure(folder)
        self._command = [
            "prometheus",
            f"--config.file={folder}/prometheus.json",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            NoPrometheusError: it ended, or is not ready in time; the message ends with its log.
        """
        log = self._folder / "log"
        with log.open("wb") as out:
            process = self._process = subprocess.Popen(
                self._command, stdout=out, stderr=out, cwd=self._folder, process_group=0
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"Prometheus did not start: {log.read_text()[-1000:]}"
                raise NoPrometheusError(msg)
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    async def scrape(self, **processes: Sequence[Process]) -> None:
        """Scrape these processes of `service` and `worker`, and wait until each was scraped twice.

        A rate needs two.
        """
        for name, file in self._jobs.items():
            ports = [each.port for each in processes.get(name, ())]
            groups = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
            whole = file.with_suffix(".new")
            whole.write_text(json.dumps(groups))
            whole.replace(file)  # it never reads half a file
        count = sum(map(len, processes.values()))

        async def all_are() -> bool:
            return len(await self.query("count_over_time(up[10s]) >= 2")) >= count

        await eventually(all_are, within_s=LOOK_WITHIN_S)

    async def query(self, expression: str) -> list[Series]:
        """Run an expression now; return its series."""
        return await self._ask("query", query=expression)

    async def query_last(self, expression: str, *, seconds: float) -> list[Series]:
        """Run an expression for each of the last seconds; return its series."""
        now = time.time()
        return await self._ask(
            "query_range", query=expression, start=now - seconds, end=now, step=1
        )

    async def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = await self.query('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}

    async def fires(self, alert: str) -> None:
        """Wait until an alert fires."""
        prefixed = f"ProgramExecutor{alert}"

        async def it_does() -> bool:
            return prefixed in await self.firing()

        await eventually(it_does, within_s=LOOK_WITHIN_S)

    async def is_quiet(self) -> None:
        """Wait until nothing fires."""

        async def it_is() -> bool:
            return not await self.firing()

        await eventually(it_is, within_s=LOOK_WITHIN_S)

    async def _ask(self, what: str, **parameters: Any) -> list[Series]:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            answer = await client.post(f"/api/v1/{what}", data=parameters)
        content = answer.json()
        assert content["status"] == "success", (parameters["query"], content)
        found: list[Series] = content["data"]["result"]
        return found

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def _configure(folder: Path) -> Mapping[str, Path]:
    """Write configuration and rules; return {service or worker: the file of its targets}."""
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = {}
    for scrape in config["scrape_configs"]:
        del scrape["dns_sd_configs"]
        name = scrape["job_name"].removeprefix("program-executor-")
        jobs[name] = file = folder / f"{name}.json"
        scrape["file_sd_configs"] = [{"files": [str(file)], "refresh_interval": "1s"}]
    for rules in config["rule_files"]:
        text = (DEPLOY / rules).read_text()
        impatient = re.sub(r"\bfor: \d+m\b", "for: 1s", text)
        (folder / rules).write_text(re.sub(r"\[\d+m\]", f"[{WINDOW}]", impatient))
    (folder / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML
    return jobs


@contextmanager
def private_prometheus() -> Iterator[PrivatePrometheus]:
    """Start a Prometheus of our own, installing it when we are root; stop it after.

    Raises:
        NoPrometheusError: it is not installed and cannot be, or does not start.
    """
    require_installed()
    folder = Path(tempfile.mkdtemp(prefix="program-executor-prometheus-"))
    try:
        server = PrivatePrometheus(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
