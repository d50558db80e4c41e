"""Crash points: a process dies at each place where that could matter, and nothing comes of it.

Everybody dies in one go, before the first test; each test then looks at one who died. Invariants 1,
3, 4, 5 and 8.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from brokers import a_console
from crashing import ONWARD, Aftermath, WorkerScene, workers_fall
from crashing_services import (
    ServiceScene,
    SweeperScene,
    cancel_twice,
    complete_twice,
    resume_twice,
    services_fall,
    submit_twice,
    sweepers_fall,
)
from deployments import deployed
from deployments import shared_rabbitmq as shared_rabbitmq
from forking import forking
from processes import Deployment, Launch
from program_service.crashpoints import CrashPoint as At

LONG_STEPS = {"seconds": 2.5}
TOLD = {"seconds": 0.4}
pytestmark = pytest.mark.timeout(300)  # the first test waits for all to die

ONCE, PERHAPS = frozenset({1}), frozenset({0, 1})

WORKERS = [
    WorkerScene(At.INTAKE_RECEIVED),
    WorkerScene(At.CLAIM_BEFORE_COMMIT, times=2),
    WorkerScene(At.CLAIM_AFTER_COMMIT, times=2),
    # longer than a wake-up waits for a slot
    WorkerScene(At.INTAKE_HANDED_BACK, repeats=PERHAPS, programs=3, data={"seconds": 1.0}),
    # the program has been started beside this
    WorkerScene(At.INTAKE_BEFORE_ACK, repeats=PERHAPS, programs=1),
    WorkerScene(At.INTAKE_AFTER_ACK, repeats=PERHAPS, programs=1),
    WorkerScene(At.RENEW_BEFORE_COMMIT, repeats=ONCE, programs=1, data=LONG_STEPS),
    WorkerScene(At.RENEW_AFTER_COMMIT, repeats=ONCE, programs=1, data=LONG_STEPS),
    WorkerScene(At.JOB_DATA_BEFORE_COMMIT, times=2, repeats=ONCE, data={"writes": True}),
    WorkerScene(At.JOB_DATA_AFTER_COMMIT, times=2, repeats=ONCE, data={"writes": True}),
    WorkerScene(At.STEP_RAN, times=2, repeats=ONCE),
    WorkerScene(At.RECORD_BEFORE_COMMIT, times=2, repeats=ONCE),
    WorkerScene(At.RECORD_AFTER_COMMIT, times=2),
    WorkerScene(At.STEP_RECORDED, times=2),
    WorkerScene(At.STEP_RELEASED, jobs=("", ONWARD, "")),
    WorkerScene(At.DRAIN_QUIET, repeats=ONCE, programs=1, data=LONG_STEPS, is_told_to_stop=True),
    WorkerScene(
        At.DRAIN_STOPPED,
        repeats=ONCE,
        programs=1,
        data=LONG_STEPS,
        settings={"grace_s": 0.0},
        is_told_to_stop=True,
    ),
    WorkerScene(At.DRAIN_ENDED, programs=1, data=TOLD, is_told_to_stop=True),
    WorkerScene(At.LEAVE_BEFORE_COMMIT, programs=1, data=TOLD, is_told_to_stop=True),
    WorkerScene(At.LEAVE_AFTER_COMMIT, programs=1, data=TOLD, is_told_to_stop=True),
]
SERVICES = [
    ServiceScene(At.SUBMIT_BEFORE_COMMIT, submit_twice),
    ServiceScene(At.SUBMIT_AFTER_COMMIT, submit_twice),
    ServiceScene(At.RELAY_TAKEN, submit_twice),
    ServiceScene(At.WAKE_PUBLISHED, submit_twice),
    ServiceScene(At.MARK_BEFORE_COMMIT, submit_twice),
    ServiceScene(At.MARK_AFTER_COMMIT, submit_twice),
    ServiceScene(At.CALLBACK_BEFORE_COMMIT, complete_twice),
    ServiceScene(At.CALLBACK_AFTER_COMMIT, complete_twice),
    ServiceScene(At.CANCEL_BEFORE_COMMIT, cancel_twice),
    ServiceScene(At.CANCEL_AFTER_COMMIT, cancel_twice),
    ServiceScene(At.RESUME_BEFORE_COMMIT, resume_twice),
    ServiceScene(At.RESUME_AFTER_COMMIT, resume_twice),
]
SWEEPERS = [
    SweeperScene(At.SWEEP_DUE),
    SweeperScene(At.WAKE_PUBLISHED),
    SweeperScene(At.SWEEP_UNANSWERED, is_wakeup_lost=True),
]
SCENES: list[WorkerScene | ServiceScene | SweeperScene] = [*WORKERS, *SERVICES, *SWEEPERS]
NAMES = [scene.name for scene in SCENES]
REPEATS = {scene.name: scene.repeats for scene in WORKERS}


@pytest.fixture(scope="module")
def aftermath(
    postgresql_url: str, shared_rabbitmq: str, tmp_path_factory: pytest.TempPathFactory
) -> Aftermath:
    """Have everybody die, and all programs end."""
    folder = tmp_path_factory.mktemp("crash-points")
    with forking() as forker:
        place = Place(folder, postgresql_url, shared_rabbitmq, forker.launch)
        return asyncio.run(all_fall(place))


@dataclass(frozen=True, slots=True)
class Place:
    """Where deployments are made."""

    folder: Path
    database_url: str
    amqp_url: str
    launch: Launch

    @asynccontextmanager
    async def deployed(self, name: str) -> AsyncGenerator[Deployment]:
        """Make a deployment, and clear its queues away after."""
        folder = self.folder / name
        folder.mkdir()
        async with (
            a_console(self.amqp_url) as console,
            deployed(folder, self.database_url, console, launch=self.launch) as ready,
        ):
            try:
                yield ready
            finally:
                await ready.close()  # a queue that has consumers is soon made anew
                await console.delete(ONWARD, *(scene.name for scene in WORKERS))


async def all_fall(place: Place) -> Aftermath:
    """Play all scenes, in three deployments."""
    end = Aftermath()
    async with (
        place.deployed("workers") as first,
        place.deployed("services") as second,
        place.deployed("sweepers") as third,
    ):
        await asyncio.gather(
            workers_fall(first, WORKERS, end),
            services_fall(second, SERVICES, end),
            sweepers_fall(third, SWEEPERS, end),
        )
    return end


def test_there_is_a_scene_for_every_crash_point() -> None:
    """Two suspects on one worker are a story of their own, in test_suspects.py."""
    assert {scene.point for scene in SCENES} == set(At)


@pytest.mark.parametrize("name", NAMES)
def test_process_that_dies_anywhere_loses_and_doubles_nothing(
    aftermath: Aftermath, name: str
) -> None:
    casualty = aftermath.casualties[name]
    assert casualty.exit_code == -signal.SIGKILL, casualty.log[-2000:]
    assert casualty.log.splitlines()[-1] == f"crash point {casualty.point} reached"
    rows = [aftermath.rows[run_id] for run_id in casualty.run_ids]
    is_cancelled = casualty.point in {At.CANCEL_BEFORE_COMMIT, At.CANCEL_AFTER_COMMIT}
    done = Counter(
        (each["run_id"], each["step"])
        for each in aftermath.attempts
        if each["outcome"] == "done" and each["run_id"] in casualty.run_ids
    )
    if is_cancelled:
        assert all(row["cancelled_at"] and row["errored_at"] for row in rows)
        assert not done
        return
    assert all(row["finished_at"] for row in rows), [row["error_message"] for row in rows]
    steps = {(row["run_id"], step) for row in rows for step in range(row["step"])}
    assert done == Counter(steps)


@pytest.mark.parametrize("name", NAMES)
def test_effects_are_repeated_only_between_the_begin_of_a_step_and_its_commit(
    aftermath: Aftermath, name: str
) -> None:
    run_ids, journal = set(aftermath.casualties[name].run_ids), aftermath.journals[name]
    again = [second for _, second in journal.begun_again() if second.run_id in run_ids]
    assert len(again) in REPEATS.get(name, {0})
    assert not [entry for entry in journal.out_of_order() if entry.run_id in run_ids]
    assert not [first for first, _ in journal.unexplained() if first.run_id in run_ids]


@pytest.mark.parametrize("name", [each.name for each in SERVICES if each.ask is submit_twice])
def test_submit_that_is_sent_again_makes_one_program(aftermath: Aftermath, name: str) -> None:
    labelled = [row for row in aftermath.rows.values() if name in (row["labels"] or "")]
    assert [row["run_id"] for row in labelled] == aftermath.casualties[name].run_ids


@pytest.mark.parametrize("point", [At.RESUME_BEFORE_COMMIT, At.RESUME_AFTER_COMMIT])
def test_resume_that_is_sent_again_counts_once(aftermath: Aftermath, point: At) -> None:
    (run_id,) = aftermath.casualties[point].run_ids
    assert aftermath.rows[run_id]["resumes"] == 1
