"""Estimating: from how long the jobs of similar programs took, and only then."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from program_executor.commands.drawing import step_status, window
from program_executor.commands.estimating import seconds_left, usual_times
from program_executor.shapes import Attempt, Program

BEGAN = datetime(2027, 1, 31, 8, tzinfo=UTC)


def a_try(step: int, job: str, took_s: float, outcome: str = "done", **fields: Any) -> Attempt:
    """Make as much of a try as is looked at."""
    moments = {
        "started_at": BEGAN.isoformat(),
        "finished_at": (BEGAN + timedelta(seconds=took_s)).isoformat(),
    }
    return cast("Attempt", {"step": step, "job": job, "outcome": outcome, **moments, **fields})


def a_program(step: int, status: str = "running") -> Program:
    jobs = ["reserve", "charge", "ship"]
    done = {"done": step, "total": len(jobs)}
    return cast("Program", {"status": status, "jobs": jobs, "step": step, "progress": done})


def test_usual_time_is_the_median_of_programs() -> None:
    past = [[a_try(0, "reserve", took_s)] for took_s in (1, 2, 60)]
    assert usual_times(past) == {"reserve": 2}


def test_time_of_a_step_is_that_of_the_tries_that_brought_it_forward() -> None:
    tries = [
        a_try(0, "reserve", 50, "retry"),
        a_try(0, "reserve", 0, "lost", started_at=None),
        a_try(0, "reserve", 3, "yielded"),
        a_try(0, "reserve", 4),
        a_try(1, "charge", 9, "failed"),
    ]
    assert usual_times([tries]) == {"reserve": 7}


def test_rest_is_what_is_left_of_the_current_step_and_the_steps_after() -> None:
    usual = {"reserve": 10.0, "charge": 20.0, "ship": 30.0}
    assert seconds_left(a_program(1), usual, running_s=5) == 45
    assert seconds_left(a_program(1), usual, running_s=500) == 30
    assert seconds_left(a_program(2), usual, running_s=0) == 30


def test_without_knowledge_there_is_no_estimate() -> None:
    assert seconds_left(a_program(1), {"charge": 20.0}, running_s=5) is None
    assert seconds_left(a_program(1), {}, running_s=5) is None


@pytest.mark.parametrize("status", ["pending", "scheduled", "waiting", "retrying", "finished"])
def test_program_that_does_not_run_has_no_estimate(status: str) -> None:
    usual = {"reserve": 10.0, "charge": 20.0, "ship": 30.0}
    assert seconds_left(a_program(1, status), usual, running_s=5) is None


@pytest.mark.parametrize(
    ("total", "current", "room", "shown"),
    [
        (3, 1, 10, range(3)),
        (100, 0, 10, range(10)),
        (100, 50, 10, range(45, 55)),
        (100, 99, 10, range(90, 100)),
        (1, 0, 1, range(1)),
    ],
)
def test_steps_around_the_current_one_are_shown(
    total: int, current: int, room: int, shown: range
) -> None:
    assert window(total, current, room) == shown
    assert current in shown


def test_steps_before_are_finished_and_steps_after_are_to_come() -> None:
    program = a_program(1, "retrying")
    statuses = [step_status(program, step) for step in range(3)]
    assert statuses == ["finished", "retrying", "pending"]
