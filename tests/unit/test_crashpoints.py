"""Crash points: they do nothing, but where a test says so."""

import signal
import subprocess
import sys

import pytest

from program_service import crashpoints
from program_service.crashpoints import VARIABLE, Aim, CrashPoint, reach, reach_commit

PASS_TWICE = (
    "from program_service.crashpoints import CrashPoint, reach\n"
    "reach(CrashPoint.STEP_RAN)\n"
    "reach(CrashPoint.STEP_RECORDED)\n"
    "print('once', flush=True)\n"
    "reach(CrashPoint.STEP_RAN)\n"
    "print('twice', flush=True)\n"
)


def passing(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a process that passes a point twice, and another one once."""
    command = [sys.executable, "-c", PASS_TWICE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("wish", "printed"),
    [("step.ran", ""), ("step.ran:2", "once\n"), ("step.recorded", "")],
)
def test_process_kills_itself_where_it_is_told_to(wish: str, printed: str) -> None:
    died = passing(**{VARIABLE: wish})
    assert died.returncode == -signal.SIGKILL
    assert died.stdout == printed
    assert died.stderr == f"crash point {wish.partition(':')[0]} reached\n"


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "step.ran:3"}])
def test_process_goes_on_where_it_is_not(environment: dict[str, str]) -> None:
    lived = passing(**environment)
    assert (lived.returncode, lived.stdout) == (0, "once\ntwice\n")


def test_name_of_no_place_is_refused_at_once() -> None:
    refused = passing(**{VARIABLE: "step.run"})
    assert refused.returncode == 1
    assert "'step.run' is not a valid CrashPoint" in refused.stderr


def test_commits_are_named_by_their_function(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Witness(Aim):
        def reach(self, name: str) -> None:
            seen.append(name)

    async def record() -> None:
        """Stand for a transaction."""

    monkeypatch.setattr(crashpoints, "_aim", Witness("step.ran"))
    reach_commit(record, "before")
    reach_commit(record, "after")
    reach(CrashPoint.STEP_RAN)
    assert seen == [CrashPoint.RECORD_BEFORE_COMMIT, CrashPoint.RECORD_AFTER_COMMIT, "step.ran"]
