"""What these tests share: a Prometheus, its promtool, and a deployment to look at."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from private_prometheus import (
    NoPrometheusError,
    PrivatePrometheus,
    private_prometheus,
    require_installed,
)
from skips import or_skip

PROMTOOL_TIMEOUT_S = 60

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Return a function that runs promtool, which must have no complaint, and returns its words."""
    try:
        require_installed()
    except NoPrometheusError as error:
        pytest.skip(f"Prometheus: {error}")

    def run(*words: str | Path, given: str = "", folder: Path | None = None) -> str:
        done = subprocess.run(
            ["promtool", *words],
            input=given,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROMTOOL_TIMEOUT_S,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    return run


@pytest.fixture
def prometheus() -> Iterator[PrivatePrometheus]:
    """Start a Prometheus; without one the test is skipped by name."""
    with or_skip("Prometheus", private_prometheus(), NoPrometheusError) as server:
        yield server
