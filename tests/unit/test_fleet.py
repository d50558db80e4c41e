"""Fleet: children that die are restarted, those that cannot start end it, a stop reaches all."""

import asyncio
import signal
import sys
from typing import cast

import pytest
from structlog.testing import capture_logs

from lines import Lines, of_event
from program_executor import fleet as fleets
from program_executor.fleet import Fleet
from program_service.bookkeeping.retry import Retry
from program_service.settings import Settings

SLEEP = "import time; time.sleep(60)"


class Scripts(Fleet):
    """A fleet whose children run these scripts, one after the other."""

    def __init__(self, *scripts: str) -> None:
        super().__init__(Settings(), [])
        self.scripts = list(scripts)
        self.started: list[asyncio.subprocess.Process] = []

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        del number
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", self.scripts.pop(0))
        self.started.append(child)
        return child


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "BACKOFF", Retry(initial_s=0.01, factor=1.0, jitter="none"))


async def test_child_that_dies_is_restarted_until_it_is_hopeless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleets, "MOST_DEATHS", 4)
    killed = "import os; os.kill(os.getpid(), 9)"
    fleet = Scripts("raise SystemExit(1)", killed, "", "raise SystemExit(7)")
    with capture_logs() as lines:
        assert await fleet.keep(3) == 7
    assert fleet.failed is not None
    assert fleet.failed.reason == "worker process 3 ended 4 times in a row, with exit code 7"
    died = of_event(cast("Lines", lines), "worker.died")
    assert [(each["number"], each["exit_code"]) for each in died] == [(3, 1), (3, -9), (3, 0)]


async def test_child_with_wrong_settings_is_not_restarted_and_the_others_are_stopped() -> None:
    fleet = Scripts("raise SystemExit(2)")
    assert await fleet.keep(0) == 2
    assert fleet.failed is not None
    assert fleet.failed.reason == "worker process 0 ended once, with exit code 2"
    assert await fleet.keep(1) == 0  # it is not even started
    assert len(fleet.started) == 1


async def test_child_that_starts_while_the_fleet_is_told_to_stop_is_told_too() -> None:
    class Late(Scripts):
        async def _start(self, number: int) -> asyncio.subprocess.Process:
            child = await super()._start(number)
            self.stop()  # a signal, before the child is known
            return child

    fleet = Late(SLEEP)
    assert await fleet.keep(0) == 0
    assert fleet.started[0].returncode == -signal.SIGTERM


async def test_stop_ends_the_wait_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "BACKOFF", Retry(initial_s=3_600.0, max_s=3_600, jitter="none"))
    fleet = Scripts("raise SystemExit(1)", SLEEP)
    keeping = asyncio.create_task(fleet.keep(0))
    with capture_logs() as lines:
        while not of_event(cast("Lines", lines), "worker.died"):
            await asyncio.sleep(0.02)
        fleet.stop()
        assert await keeping == 1
    assert len(fleet.started) == 1


async def test_child_that_the_system_cannot_start_is_tried_again() -> None:
    class Poor(Scripts):
        async def _start(self, number: int) -> asyncio.subprocess.Process:
            if len(self.scripts) > 1:
                self.scripts.pop(0)
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return await super()._start(number)

    fleet = Poor("", "raise SystemExit(2)")
    with capture_logs() as lines:
        assert await fleet.keep(0) == 2
    (line,) = of_event(cast("Lines", lines), "worker.not_started")
    assert "Resource temporarily unavailable" in line["error_message"]


async def test_child_that_hears_no_signal_is_killed_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleets, "END_WITHIN_S", -Settings().grace_s)
    fleet = Scripts(f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEP}")
    keeping = asyncio.create_task(fleet.keep(0))
    while not fleet.started:
        await asyncio.sleep(0.02)
    with capture_logs() as lines:
        fleet.stop()
        await keeping
    assert len(of_event(cast("Lines", lines), "worker.killed")) == 1
