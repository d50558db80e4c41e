"""Callbacks: an endpoint completes a step that it took over, whenever it does (rule R9)."""

import asyncio

import pytest

from builders import (
    a_failure,
    attempts_of,
    by_hand,
    claimed,
    lapse,
    later,
    reclaimed,
    recorded,
    row_of,
    seconds_ago,
    stands,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import StaleStep
from program_service.bookkeeping.ledger.callbacks import (
    Report,
    Ticket,
    merge_callback_data,
    prolong,
    settle_callback,
)
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import (
    Accepted,
    Claimed,
    Done,
    Fail,
    RetryLater,
    Status,
)
from program_service.bookkeeping.retry import Retry

LATER = Accepted(within_s=600)
ENDINGS: list[Done | RetryLater | Fail] = [Done(), later(), Fail(a_failure())]
every_ending = pytest.mark.parametrize("outcome", ENDINGS, ids=lambda each: type(each).__name__)


def ticket_of(program: Claimed) -> Ticket:
    """Return what the endpoint was given when it was called."""
    return Ticket(program.run_id, program.step, program.resumes, program.attempt)


async def reported(
    database: Database, ticket: Ticket, outcome: Done | RetryLater | Fail, max_attempts: int = 10
) -> Program:
    """Report an outcome; the next job's queue is `tills`."""
    report = Report(ticket, outcome, Retry(max_attempts=max_attempts))
    program, _ = await database.transact(settle_callback, report, queues={"charge": "tills"})
    return program


async def awaited(database: Database, run_id: str = "run-1") -> Claimed:
    """Claim a program and let an endpoint accept its step."""
    program = await claimed(database, run_id)
    await stands(database, program, LATER)
    return program


async def test_accepted_step_waits_without_a_worker(database: Database) -> None:
    program = await awaited(database)
    row = await row_of(database, "run-1")
    assert (row["awaiting"], row["lease"], row["claimed_by"]) == (program.attempt, None, None)
    assert (row["step"], row["step_retry_count"]) == (0, 0)
    assert [attempt.outcome for attempt in await attempts_of(database, "run-1")] == ["accepted"]
    assert not isinstance(await try_claim(database, "run-1"), Claimed)


async def test_completion_advances_the_program_and_merges_its_data(database: Database) -> None:
    """Rule R9, invariant 14."""
    program = await awaited(database)
    after = await reported(database, ticket_of(program), Done({"receipt": 7}))
    assert (after.status, after.step, after.job) == (Status.PENDING, 1, "charge")
    assert (after.queue, after.awaiting, after.woken_at) == ("tills", None, None)
    assert after.job_data == {"reserve": {"receipt": 7}}
    tries = await attempts_of(database, "run-1")
    assert [attempt.outcome for attempt in tries] == ["accepted", "done"]
    assert isinstance(await try_claim(database, "run-1"), Claimed)


async def test_completion_of_the_last_step_finishes_the_program(database: Database) -> None:
    program = await claimed(database, "run-1", jobs=["reserve"])
    await stands(database, program, LATER)
    after = await reported(database, ticket_of(program), Done())
    assert (after.status, after.step, after.due_at) == (Status.FINISHED, 1, None)


async def test_completion_before_its_acceptance_was_recorded_counts(database: Database) -> None:
    """Rule R9, invariants 3 and 14: the worker that still holds the lease is fenced off."""
    program = await claimed(database, "run-1")
    after = await reported(database, ticket_of(program), Done())
    assert after.step == 1
    for outcome in (LATER, Done(), later()):
        assert await recorded(database, program, outcome) is None
    assert (await row_of(database, "run-1"))["awaiting"] is None


async def test_completion_of_an_earlier_try_counts(database: Database) -> None:
    """Rule R9, invariant 14: its deadline passed, and a worker is calling the endpoint again."""
    program = await awaited(database)
    again = await reclaimed(database, "run-1")
    assert again.attempt == 2
    assert (await reported(database, ticket_of(program), Done())).step == 1
    assert await recorded(database, again, Done()) is None


async def test_completion_after_its_worker_died_counts(database: Database) -> None:
    """Rule R9, invariant 14."""
    program = await claimed(database, "run-1")
    await lapse(database, "run-1")
    assert (await reported(database, ticket_of(program), Done())).step == 1


async def test_second_completion_is_stale_and_harms_nothing(database: Database) -> None:
    """Rule R9, invariant 4."""
    program = await awaited(database)
    await reported(database, ticket_of(program), Done({"n": 1}))
    row = await row_of(database, "run-1")
    with pytest.raises(StaleStep):
        await reported(database, ticket_of(program), Done({"n": 2}))
    assert await row_of(database, "run-1") == row


async def test_two_completions_at_once_advance_by_one_step(database: Database) -> None:
    """Rule R9, invariant 4."""
    program = await awaited(database)
    answers = await asyncio.gather(
        *(reported(database, ticket_of(program), Done({"n": n})) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, StaleStep) for answer in answers) == 4
    assert (await row_of(database, "run-1"))["step"] == 1


@every_ending
async def test_report_from_before_a_resume_is_stale(
    database: Database, outcome: Done | RetryLater | Fail
) -> None:
    """Rule R9: the token is bound to one life of the program."""
    program = await awaited(database)
    await database.transact(cancel, "run-1")
    await database.transact(resume, "run-1", queues={})
    with pytest.raises(StaleStep):
        await reported(database, ticket_of(program), outcome)


@every_ending
async def test_report_to_a_final_program_is_stale(
    database: Database, outcome: Done | RetryLater | Fail
) -> None:
    """Rule R9, invariant 6."""
    program = await awaited(database)
    await database.transact(cancel, "run-1")
    row = await row_of(database, "run-1")
    with pytest.raises(StaleStep):
        await reported(database, ticket_of(program), outcome)
    assert await row_of(database, "run-1") == row


async def test_report_for_an_unknown_program_is_stale(database: Database) -> None:
    with pytest.raises(StaleStep):
        await reported(database, Ticket("nobody", 0, 0, 1), Done())


async def test_failure_that_may_pass_is_retried_by_the_policy(database: Database) -> None:
    """Rule R9."""
    program = await awaited(database)
    after = await reported(database, ticket_of(program), later("the bank is closed"))
    assert (after.step, after.step_retry_count, after.awaiting) == (0, 1, None)
    assert after.error_message == "the bank is closed"
    assert after.status is Status.RETRYING


async def test_failure_of_the_last_try_errors_the_program(database: Database) -> None:
    program = await awaited(database)
    after = await reported(database, ticket_of(program), later(), max_attempts=1)
    assert after.status is Status.ERRORED


async def test_failure_for_good_errors_the_program(database: Database) -> None:
    program = await awaited(database)
    after = await reported(database, ticket_of(program), Fail(a_failure("no such card")))
    assert (after.status, after.error_message) == (Status.ERRORED, "no such card")


async def test_what_is_not_a_completion_needs_the_current_try(database: Database) -> None:
    """Rule R9: an endpoint that gave up must not spoil the try that is running now."""
    old = ticket_of(await awaited(database))
    await reclaimed(database, "run-1")
    row = await row_of(database, "run-1")
    for outcome in (later(), Fail(a_failure())):
        with pytest.raises(StaleStep, match="try 2 is the current one"):
            await reported(database, old, outcome)
    with pytest.raises(StaleStep):
        await database.transact(prolong, old, within_s=60)
    with pytest.raises(StaleStep):
        await database.transact(merge_callback_data, old, {"n": 1})
    assert await row_of(database, "run-1") == row


async def test_heartbeat_moves_the_deadline(database: Database) -> None:
    """Rule R9."""
    program = await awaited(database)
    await by_hand(database, "run-1", due_at=seconds_ago(database, 1))
    await database.transact(prolong, ticket_of(program), within_s=60)
    assert not isinstance(await try_claim(database, "run-1"), Claimed)


async def test_heartbeat_before_the_acceptance_was_recorded_leaves_the_lease(
    database: Database,
) -> None:
    program = await claimed(database, "run-1")
    row = await row_of(database, "run-1")
    await database.transact(prolong, ticket_of(program), within_s=60)
    assert await row_of(database, "run-1") == row
    assert await recorded(database, program, LATER) is not None


async def test_job_data_are_merged_while_the_step_is_awaited(database: Database) -> None:
    """Rules R9 and R10."""
    program = await awaited(database)
    ticket = ticket_of(program)
    assert await database.transact(merge_callback_data, ticket, {"page": 1}) == {"page": 1}
    merged = await database.transact(merge_callback_data, ticket, {"rows": [2]})
    assert merged == {"page": 1, "rows": [2]}
    after = await reported(database, ticket, Done({"page": 2}))
    assert after.job_data == {"reserve": {"page": 2, "rows": [2]}}
