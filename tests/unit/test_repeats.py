"""Repeats: what begins a step again for nothing is bounded."""

import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from program_service.bookkeeping.lifecycle import (
    Done,
    Outcome,
    Released,
    RetryLater,
    Yielded,
)
from program_service.bookkeeping.setbacks import REMEMBERED, InARow
from program_workers.lease import Held, StopReason
from program_workers.repeats import FREE, NO_PROGRESS, Repeats
from rooms import a_program

PROGRAM = replace(a_program("run-1", "sync"), job_data={"sync": {"page": 1}})


async def held(reason: StopReason | None = None, *, page: int = 1) -> Held:
    """Return a step that is stopped for this reason, and has stored this page."""
    one = Held(PROGRAM, time.monotonic() + 60)
    one.program = replace(PROGRAM, job_data={"sync": {"page": page}})
    one.stop_reason = reason
    return one


def pauses(outcomes: list[Outcome | None]) -> list[float]:
    """Return after how long steps are begun again."""
    return [each.due_in_s for each in outcomes if isinstance(each, Yielded | Released)]


async def test_checkpoints_without_progress_are_paced_and_count_in_the_end() -> None:
    repeats, step = Repeats(), await held()
    with capture_logs() as lines:
        outcomes = [repeats.bounded(PROGRAM, Yielded(), step) for _ in range(FREE + 2)]
    assert pauses(outcomes) == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    for outcome in outcomes[FREE:]:
        assert isinstance(outcome, RetryLater)
        assert outcome.failure.code == NO_PROGRESS
    assert [line["times"] for line in lines] == list(range(1, FREE + 3))


async def test_progress_is_free_and_begins_the_count_again() -> None:
    repeats, still, on = Repeats(), await held(), await held(page=2)
    for _ in range(FREE):
        repeats.bounded(PROGRAM, Yielded(), still)
    assert repeats.bounded(PROGRAM, Yielded(), on) == Yielded()
    assert repeats.bounded(PROGRAM, Yielded(), still) == Yielded()


async def test_lost_leases_are_free_a_few_times_and_counted_by_the_next_claim_then() -> None:
    repeats, lost = Repeats(), await held(StopReason.LEASE_LOST)
    outcomes = [repeats.bounded(PROGRAM, Released(), lost) for _ in range(FREE + 1)]
    assert pauses(outcomes) == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert outcomes[-1] is None


@pytest.mark.parametrize("outcome", [Done(), Released(), Released(5.0)])
async def test_other_outcomes_are_as_they_are(outcome: Outcome) -> None:
    repeats, stopping = Repeats(), await held(StopReason.SHUTDOWN)
    for _ in range(FREE + 1):
        assert repeats.bounded(PROGRAM, outcome, stopping) == outcome


def test_steps_that_are_remembered_are_limited() -> None:
    in_a_row = InARow()
    for number in range(REMEMBERED + 10):
        in_a_row.add(replace(PROGRAM, run_id=str(number)))
    assert len(in_a_row) == REMEMBERED
    assert in_a_row.times(replace(PROGRAM, run_id="0")) == 0
