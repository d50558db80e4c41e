"""Lifecycle: what becomes of a program, for every outcome at every step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from program_service.bookkeeping.lifecycle import (
    MAX_LEASE_LOSSES,
    TIMED_OUT,
    WORKER_LOST,
    Claimed,
    Done,
    Ending,
    Fail,
    Failure,
    LetGo,
    Outcome,
    Released,
    RetryLater,
    Status,
    Terms,
    Yielded,
    settle,
    verdict,
)
from program_service.bookkeeping.retry import Retry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = Failure("the card was refused", type="CardError", code="refused")
PROGRAM = Claimed(
    id=7,
    run_id="run-1",
    lease="a-lease",
    jobs=["reserve", "charge", "ship"],
    step=0,
    step_retry_count=2,
    lease_losses=1,
    program_data={},
    job_data={},
    created_at=NOW,
    claimed_at=NOW,
    version=5,
)
AT_EACH_STEP = [replace(PROGRAM, step=step) for step in range(3)]
at_each_step = pytest.mark.parametrize("program", AT_EACH_STEP, ids=["first", "middle", "last"])
before_the_last = pytest.mark.parametrize("program", AT_EACH_STEP[:2], ids=["first", "middle"])
LAST = AT_EACH_STEP[2]
PLAIN = Retry(initial_s=10, factor=3, max_s=100, max_attempts=4, jitter="none")


@before_the_last
def test_done_goes_on_with_the_next_job_under_the_same_lease(program: Claimed) -> None:
    change = settle(program, Done({"a": 1}), Terms())
    assert (change.ending, change.outcome) == (Ending.ADVANCED, "done")
    assert (change.step, change.job) == (program.step + 1, program.jobs[program.step + 1])
    assert (change.step_retry_count, change.lease_losses) == (0, 0)
    assert (change.is_lease_kept, change.due_in_s) == (True, None)
    assert (change.job_data, change.failure) == ({"a": 1}, None)


@before_the_last
def test_done_releases_the_program_to_a_job_of_another_worker(program: Claimed) -> None:
    change = settle(program, Done(), Terms(is_next_mine=False))
    assert (change.ending, change.step) == (Ending.ADVANCED, program.step + 1)
    assert (change.is_lease_kept, change.due_in_s) == (False, 0.0)
    assert (change.step_retry_count, change.lease_losses) == (0, 0)


@pytest.mark.parametrize("is_next_mine", [True, False])
def test_done_of_the_last_job_finishes(*, is_next_mine: bool) -> None:
    """As with the ancestor, the step of a finished program is the number of its jobs."""
    change = settle(LAST, Done(), Terms(is_next_mine=is_next_mine))
    assert change.ending is Ending.FINISHED
    assert (change.step, change.job) == (3, "ship")
    assert (change.is_lease_kept, change.due_in_s) == (False, None)
    assert (change.step_retry_count, change.lease_losses) == (0, 0)


@at_each_step
def test_retry_waits_and_counts(program: Claimed) -> None:
    change = settle(program, RetryLater(FAILURE), Terms(retry=PLAIN))
    assert (change.ending, change.outcome) == (Ending.REQUEUED, "retry")
    assert change.retry_reason == "refused"
    assert (change.step, change.job) == (program.step, program.job)
    assert change.step_retry_count == program.step_retry_count + 1
    assert change.lease_losses == program.lease_losses
    assert (change.is_lease_kept, change.due_in_s) == (False, 90.0)
    assert change.failure == FAILURE


@at_each_step
def test_retry_of_the_last_try_errors(program: Claimed) -> None:
    worn_out = replace(program, step_retry_count=3)
    change = settle(worn_out, RetryLater(FAILURE), Terms(retry=PLAIN))
    assert (change.ending, change.outcome) == (Ending.ERRORED, "failed")
    assert change.retry_reason is None
    assert (change.step, change.step_retry_count) == (program.step, 3)
    assert (change.is_lease_kept, change.due_in_s) == (False, None)
    assert change.failure == FAILURE


def test_program_gets_as_many_tries_as_its_policy_says() -> None:
    program, tries = replace(PROGRAM, step_retry_count=0, lease_losses=0), 0
    while True:
        tries += 1
        assert program.attempt == tries
        change = settle(program, RetryLater(FAILURE), Terms(retry=PLAIN))
        if change.ending is Ending.ERRORED:
            break
        program = replace(program, step_retry_count=change.step_retry_count)
    assert tries == PLAIN.max_attempts


def test_single_try_is_never_retried() -> None:
    only = replace(PROGRAM, step_retry_count=0)
    change = settle(only, RetryLater(FAILURE), Terms(retry=Retry(max_attempts=1)))
    assert change.ending is Ending.ERRORED


def test_retry_waits_at_least_as_long_as_the_job_asks() -> None:
    after = timedelta(seconds=500)
    change = settle(PROGRAM, RetryLater(FAILURE, after), Terms(retry=PLAIN))
    assert change.due_in_s == 500.0


def test_draw_scales_the_delay() -> None:
    terms = Terms(retry=replace(PLAIN, jitter="full"))
    assert settle(PROGRAM, RetryLater(FAILURE), terms, draw=0.5).due_in_s == 45.0


@at_each_step
@pytest.mark.parametrize(("is_ignorable", "word"), [(False, "failed"), (True, "ignored")])
def test_fail_errors_where_it_stands(program: Claimed, word: str, *, is_ignorable: bool) -> None:
    change = settle(program, Fail(FAILURE, is_ignorable=is_ignorable), Terms())
    assert (change.ending, change.outcome) == (Ending.ERRORED, word)
    assert (change.step, change.job) == (program.step, program.job)
    assert change.step_retry_count == program.step_retry_count
    assert (change.is_lease_kept, change.due_in_s) == (False, None)
    assert change.failure == FAILURE


@at_each_step
@pytest.mark.parametrize(
    ("outcome", "word", "due_in_s"),
    [(Yielded(), "yielded", 0.0), (Released(), "released", 0.0), (Released(8.0), "released", 8.0)],
)
def test_what_is_given_back_counts_nothing(
    program: Claimed, outcome: Outcome, word: str, due_in_s: float
) -> None:
    change = settle(program, outcome, Terms())
    assert (change.ending, change.outcome) == (Ending.REQUEUED, word)
    assert (change.step, change.job) == (program.step, program.job)
    assert change.step_retry_count == program.step_retry_count
    assert change.lease_losses == program.lease_losses
    assert (change.is_lease_kept, change.due_in_s) == (False, due_in_s)
    assert (change.failure, change.job_data) == (None, None)


@at_each_step
def test_letting_go_changes_nothing_of_the_program(program: Claimed) -> None:
    change = settle(program, LetGo(), Terms())
    assert (change.ending, change.outcome) == (Ending.LET_GO, "cancelled")
    assert (change.step, change.step_retry_count) == (program.step, program.step_retry_count)
    assert (change.is_lease_kept, change.due_in_s) == (False, None)


@at_each_step
def test_settling_twice_gives_the_same_absolute_values(program: Claimed) -> None:
    """Invariant 7."""
    for outcome in (Done(), RetryLater(FAILURE), Fail(FAILURE), Yielded(), Released(), LetGo()):
        assert settle(program, outcome, Terms()) == settle(program, outcome, Terms())


def test_program_with_a_chance_gets_no_verdict() -> None:
    policy = Retry(max_attempts=3)
    for losses in range(MAX_LEASE_LOSSES):
        for retries in range(3):
            program = replace(PROGRAM, lease_losses=losses, step_retry_count=retries)
            assert verdict(program, policy) is None


def test_three_lost_leases_are_the_end() -> None:
    """Invariant 8: whatever the job's own budget says."""
    end = verdict(replace(PROGRAM, lease_losses=3), Retry(max_attempts=100))
    assert end is not None
    assert (end.failure.type, end.failure.code) == (WORKER_LOST, WORKER_LOST)
    assert end.failure.message.startswith(WORKER_LOST)
    assert "'reserve'" in end.failure.message
    assert not end.is_ignorable


def test_callback_that_never_came_uses_up_the_budget() -> None:
    end = verdict(replace(PROGRAM, step_retry_count=3), Retry(max_attempts=3))
    assert end is not None
    assert (end.failure.type, end.failure.code) == (TIMED_OUT, TIMED_OUT)
    assert "'reserve'" in end.failure.message


def test_number_of_a_try_counts_retries_and_losses() -> None:
    assert PROGRAM.attempt == 4
    assert replace(PROGRAM, step_retry_count=0, lease_losses=0).attempt == 1


def test_three_statuses_are_final() -> None:
    final = {status for status in Status if status.is_final}
    assert final == {Status.FINISHED, Status.ERRORED, Status.CANCELLED}
