"""Recording: what became of a step is written as it was settled, with a receipt."""

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from builders import (
    HOUR_S,
    JOBS,
    WORKER,
    a_claim,
    a_claimant,
    a_failure,
    a_program,
    a_record,
    attempts_of,
    by_hand,
    claimed,
    clock_of,
    later,
    next_step,
    reclaimed,
    row_of,
    seconds_ago,
    stands,
    submitted_all,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import Missed, claim
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.lifecycle import (
    Claimed,
    Done,
    Fail,
    Outcome,
    Released,
    RetryLater,
    Status,
    Yielded,
)
from program_service.bookkeeping.retry import Retry

IMMEDIATE = Retry(initial_s=0)


async def test_step_that_is_done_advances_and_keeps_the_lease(database: Database) -> None:
    program = await claimed(database, "run-1")
    before = await database.read(clock_of)
    answer = await stands(database, program, Done())
    row = await row_of(database, "run-1")
    assert (row["step"], row["job"], row["lease"]) == (1, "charge", program.lease)
    assert (row["claimed_by"], row["version"]) == (WORKER, 3)
    assert (answer.due_at, answer.version) == (row["due_at"], row["version"])
    assert row["updated_at"] > before


async def test_lease_that_is_kept_is_not_prolonged_by_a_step(database: Database) -> None:
    """Renewals do that: so the row's indexes need no new entry."""
    program = await claimed(database, "run-1")
    before = await row_of(database, "run-1")
    await stands(database, program, Done())
    assert (await row_of(database, "run-1"))["due_at"] == before["due_at"]


async def test_program_runs_to_its_end_under_one_lease(database: Database) -> None:
    """Rule R8, invariant 4."""
    program = await claimed(database, "run-1")
    program = next_step(program, await stands(database, program, Done()))
    program = next_step(program, await stands(database, program, Done()))
    last = await stands(database, program, Done())
    end = await database.read(find, "run-1")
    assert end.status is Status.FINISHED
    assert (end.step, end.job, end.step_retry_count) == (3, "ship", 0)
    assert (end.due_at, last.due_at, end.claimed_by) == (None, None, None)
    assert end.finished_at is not None
    attempts = await attempts_of(database, "run-1")
    assert [(each.step, each.job, each.outcome) for each in attempts] == [
        (step, job, "done") for step, job in enumerate(JOBS)
    ]


async def test_next_job_of_another_queue_is_released_to_it(database: Database) -> None:
    """Rule R13."""
    program = await claimed(database, "run-1")
    record_ = a_record(program, Done(), queue="cards", is_next_mine=False)
    await database.transact(record, [record_])
    row = await row_of(database, "run-1")
    assert (row["queue"], row["job"], row["step"]) == ("cards", "charge", 1)
    assert (row["lease"], row["claimed_by"], row["woken_at"]) == (None, None, None)
    assert (await database.read(find, "run-1")).status is Status.PENDING
    assert isinstance(await try_claim(database, "run-1", worker="worker-2"), Claimed)


async def test_step_that_is_to_be_retried_waits_for_its_delay(database: Database) -> None:
    program = await claimed(database, "run-1")
    before = await database.read(clock_of)
    policy = Retry(initial_s=HOUR_S, jitter="none")
    await stands(database, program, later("the bank is closed"), retry=policy)
    row = await row_of(database, "run-1")
    assert (row["step"], row["step_retry_count"], row["lease"]) == (0, 1, None)
    assert row["error_message"] == "the bank is closed"
    assert row["due_at"] >= before + timedelta(seconds=HOUR_S)
    assert (await database.read(find, "run-1")).status is Status.RETRYING
    assert await try_claim(database, "run-1") is Missed.GONE


async def test_delay_of_ten_thousand_years_is_recorded_and_read(database: Database) -> None:
    """Invariant 12: an endpoint may answer any Retry-After, and no list of programs may break."""
    program = await claimed(database, "run-1")
    long = timedelta(days=365 * 10_000)
    await stands(database, program, RetryLater(a_failure(), after=long))
    assert (await database.read(find, "run-1")).status is Status.RETRYING


async def test_retry_is_claimed_when_it_is_due(database: Database) -> None:
    program = await claimed(database, "run-1")
    await stands(database, program, later())
    again = await reclaimed(database, "run-1")
    assert (again.step, again.step_retry_count, again.lease_losses) == (0, 1, 0)
    assert again.attempt == 2


async def test_last_try_that_fails_errors_the_program(database: Database) -> None:
    program = await claimed(database, "run-1")
    await stands(database, program, later("first"), retry=Retry(max_attempts=2))
    program = await reclaimed(database, "run-1")
    await stands(database, program, later("second"), retry=Retry(max_attempts=2))
    end = await database.read(find, "run-1")
    assert (end.status, end.error_message) == (Status.ERRORED, "second")
    assert (end.step, end.step_retry_count) == (0, 1)
    attempts = await attempts_of(database, "run-1")
    assert [(each.attempt, each.outcome) for each in attempts] == [(1, "retry"), (2, "failed")]


async def test_errored_program_keeps_due_at_and_revives_when_errored_at_is_cleared(
    database: Database,
) -> None:
    program = await claimed(database, "run-1")
    held_until = (await row_of(database, "run-1"))["due_at"]
    await stands(database, program, Fail(a_failure()))
    row = await row_of(database, "run-1")
    assert row["due_at"] == held_until
    assert (row["lease"], row["woken_at"]) == (None, None)
    await by_hand(database, "run-1", errored_at=None)
    again = await reclaimed(database, "run-1")
    assert (again.step, again.lease_losses, again.step_retry_count) == (0, 0, 0)


async def test_error_message_is_whole_and_kept_after_a_later_success(database: Database) -> None:
    message = "Ωδή 🚀 " + "x" * 100_000
    program = await claimed(database, "run-1")
    await stands(database, program, later(message), retry=IMMEDIATE)
    program = await reclaimed(database, "run-1")
    await stands(database, program, Done())
    assert (await database.read(find, "run-1")).error_message == message


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Done(), "done"),
        (RetryLater(a_failure()), "retry"),
        (Fail(a_failure()), "failed"),
        (Fail(a_failure(), is_ignorable=True), "ignored"),
        (Yielded(), "yielded"),
        (Released(), "released"),
    ],
)
async def test_every_outcome_leaves_its_attempt(
    database: Database, outcome: Outcome, word: str
) -> None:
    program = await claimed(database, "run-1")
    await stands(database, program, outcome)
    (attempt,) = await attempts_of(database, "run-1")
    assert (attempt.outcome, attempt.worker) == (word, WORKER)
    assert (attempt.step, attempt.attempt, attempt.job) == (0, 1, "reserve")
    failure = getattr(outcome, "failure", None)
    assert (attempt.error_message, attempt.error_type, attempt.error_code, attempt.traceback) == (
        (failure.message, failure.type, failure.code, failure.traceback) if failure else (None,) * 4
    )


async def test_attempt_is_timed_by_the_databases_clock(database: Database) -> None:
    """Rule R7, invariant 11: only distances are taken from the worker's clock."""
    program = await claimed(database, "run-1")
    step = a_record(program, Done())
    before = await database.read(clock_of)
    await database.transact(record, [replace(step, began=step.began - 60, ended=step.ended - 20)])
    after = await database.read(clock_of)
    (attempt,) = await attempts_of(database, "run-1")
    assert attempt.started_at is not None
    assert round((attempt.finished_at - attempt.started_at).total_seconds()) == 40
    assert attempt.finished_at <= after - timedelta(seconds=20)
    assert attempt.finished_at.tzinfo == UTC
    assert before - attempt.finished_at < timedelta(seconds=HOUR_S)


@pytest.mark.parametrize("outcome", [Yielded(), Released()])
async def test_program_that_is_given_back_is_due_at_once_and_nothing_is_counted(
    database: Database, outcome: Outcome
) -> None:
    """Invariant 9: no waiting for leases to run out."""
    program = await claimed(database, "run-1")
    await stands(database, program, outcome)
    again = await try_claim(database, "run-1", worker="worker-2")
    assert isinstance(again, Claimed)
    assert (again.step, again.step_retry_count, again.lease_losses) == (0, 0, 0)


async def test_program_may_be_given_back_for_later(database: Database) -> None:
    """Rule R12: a thread that does not end."""
    program = await claimed(database, "run-1")
    await stands(database, program, Released(due_in_s=HOUR_S))
    assert await try_claim(database, "run-1", worker="worker-2") is Missed.GONE
    assert (await database.read(find, "run-1")).status is Status.SCHEDULED


async def test_every_change_of_due_at_forgets_who_was_woken(database: Database) -> None:
    """Rule R5."""
    for outcome in (Done(), later(), Yielded(), Released(), Fail(a_failure())):
        program = await claimed(database)
        await by_hand(database, program.run_id, woken_at=seconds_ago(database, 0))
        await stands(database, program, outcome, retry=IMMEDIATE)
        assert (await row_of(database, program.run_id))["woken_at"] is None


async def test_thousand_outcomes_of_every_kind_are_recorded_at_once(database: Database) -> None:
    run_ids = [f"run-{number:04}" for number in range(1_000)]
    await submitted_all(database, [a_program(run_id) for run_id in run_ids])
    held = await database.transact(claim, [a_claim(run_id) for run_id in run_ids], a_claimant())
    outcomes: list[Outcome] = [Done({"n": 1}), later(), Fail(a_failure()), Yielded(), Done()]
    records = [
        a_record(program, outcomes[number % 5], retry=IMMEDIATE)
        for number, program in enumerate(held)
        if isinstance(program, Claimed)
    ]
    answers = await database.transact(record, records[::-1])
    assert len([answer for answer in answers if answer]) == 1_000
    for number in (0, 1, 2, 3, 4, 999):
        row = await row_of(database, run_ids[number])
        step = records[number].change
        assert (row["step"], row["step_retry_count"]) == (step.step, step.step_retry_count)
        assert row["job_data"] == ({"reserve": {"n": 1}} if number % 5 == 0 else {})
        assert (row["errored_at"] is not None) == (number % 5 == 2)
