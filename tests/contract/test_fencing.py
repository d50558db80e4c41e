"""Fencing: a write needs the lease, the step and the retry it was made for, on an open row."""

import asyncio
from dataclasses import replace

import pytest

from builders import (
    a_failure,
    a_record,
    attempts_of,
    by_hand,
    claimed,
    lapse,
    later,
    let_go,
    next_step,
    reclaimed,
    recorded,
    row_of,
    seconds_ago,
    stands,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import AlreadyFinal
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import (
    Claimed,
    Done,
    Fail,
    LetGo,
    Outcome,
    Released,
    Status,
    Yielded,
)
from servers import Connect

OUTCOMES: list[Outcome] = [
    Done({"paid": True}),
    later(),
    Fail(a_failure()),
    Yielded(),
    Released(),
    LetGo(),
]
every_outcome = pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: type(each).__name__)


async def _assert_refused(database: Database, program: Claimed, outcome: Outcome) -> None:
    row, tries = await row_of(database, program.run_id), await attempts_of(database, program.run_id)
    assert await recorded(database, program, outcome) is None
    assert await row_of(database, program.run_id) == row
    assert await attempts_of(database, program.run_id) == tries


@every_outcome
async def test_write_under_a_lost_lease_is_refused(database: Database, outcome: Outcome) -> None:
    """Rule R2, invariant 3."""
    old = await claimed(database, "run-1")
    await reclaimed(database, "run-1")
    await _assert_refused(database, old, outcome)


@every_outcome
async def test_write_for_a_step_that_has_moved_on_is_refused(
    database: Database, outcome: Outcome
) -> None:
    """Rule R2, invariant 4: under the very same lease."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", step=1, job="charge")
    await _assert_refused(database, program, outcome)


@every_outcome
async def test_write_for_another_retry_is_refused(database: Database, outcome: Outcome) -> None:
    """Rule R2: a retry must follow the one before."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", step_retry_count=1)
    await _assert_refused(database, program, outcome)


@every_outcome
async def test_write_to_a_program_that_was_given_back_is_refused(
    database: Database, outcome: Outcome
) -> None:
    """Rule R2: releasing drops the lease."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", lease=None, claimed_by=None)
    await _assert_refused(database, program, outcome)


@pytest.mark.parametrize("ended", ["finished_at", "errored_at"])
@pytest.mark.parametrize("outcome", OUTCOMES[:-1], ids=lambda each: type(each).__name__)
async def test_final_program_never_changes(
    database: Database, outcome: Outcome, ended: str
) -> None:
    """Rule R2, invariant 6."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", **{ended: seconds_ago(database, 0)})
    await _assert_refused(database, program, outcome)


@pytest.mark.parametrize("ended", ["finished_at", "errored_at"])
async def test_letting_go_is_the_one_write_that_a_final_program_allows(
    database: Database, ended: str
) -> None:
    """Rule R2, invariant 6: only the lease is dropped."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", **{ended: seconds_ago(database, 0)})
    before = await row_of(database, "run-1")
    assert await let_go(database, program) is not None
    after = await row_of(database, "run-1")
    dropped = {"lease": None, "claimed_by": None, "version": before["version"] + 1}
    assert after == before | dropped
    (attempt,) = await attempts_of(database, "run-1")
    assert attempt.outcome == "cancelled"


async def test_letting_go_needs_the_lease(database: Database) -> None:
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", errored_at=seconds_ago(database, 0))
    await _assert_refused(database, replace(program, lease="0" * 32), LetGo())


async def test_program_that_has_not_ended_is_not_let_go(database: Database) -> None:
    """Invariant 3: the lease of an open program guards its work."""
    program = await claimed(database, "run-1")
    await _assert_refused(database, program, LetGo())


@pytest.mark.parametrize("is_old_first", [True, False])
async def test_batch_with_two_leases_of_one_program_writes_only_for_the_valid_one(
    database: Database, *, is_old_first: bool
) -> None:
    """Rule R2, invariant 3: each finds its own answer."""
    old = await claimed(database, "run-1")
    new = await reclaimed(database, "run-1")
    other = await claimed(database, "run-2")
    stale, fresh = a_record(old, Fail(a_failure())), a_record(new, Done({"paid": True}))
    pair = [stale, fresh] if is_old_first else [fresh, stale]
    answers = await database.transact(record, [*pair, a_record(other, Done())])
    assert [answer is not None for answer in answers] == [not is_old_first, is_old_first, True]
    row = await row_of(database, "run-1")
    assert (row["step"], row["errored_at"]) == (1, None)
    assert row["job_data"] == {"reserve": {"paid": True}}
    outcomes = sorted(attempt.outcome for attempt in await attempts_of(database, "run-1"))
    assert outcomes == ["done", "lost"]


async def test_two_steps_of_one_lease_may_come_in_one_batch(database: Database) -> None:
    program = await claimed(database, "run-1")
    second = replace(program, step=1)
    answers = await database.transact(record, [a_record(program, Done()), a_record(second, Done())])
    assert None not in answers
    assert (await row_of(database, "run-1"))["step"] == 2


async def test_late_outcome_of_a_lost_try_is_not_taken_for_recorded(database: Database) -> None:
    """Rule R4: the note of the loss is no receipt."""
    old = await claimed(database, "run-1")
    new = await reclaimed(database, "run-1")
    await stands(database, new, Done())
    assert await recorded(database, old, Done()) is None
    assert (await row_of(database, "run-1"))["step"] == 1


async def test_outcome_is_not_refused_because_the_lease_lapsed_unnoticed(
    database: Database,
) -> None:
    """Rule R2: the fence is the lease, not its end; nobody else has run the step."""
    program = await claimed(database, "run-1")
    await lapse(database, "run-1")
    recorded_ = await stands(database, program, Done())
    assert await recorded(database, next_step(program, recorded_), Done()) is not None


async def test_cancel_and_finish_that_race_have_one_winner(connect: Connect) -> None:
    """Rule R14, invariant 6."""
    worker, person = connect(), connect()
    for _ in range(15):
        program = await claimed(worker, jobs=["ship"])
        answer, refusal = await asyncio.gather(
            recorded(worker, program, Done()),
            person.transact(cancel, program.run_id),
            return_exceptions=True,
        )
        is_finished = answer is not None
        assert isinstance(refusal, AlreadyFinal) is is_finished
        row = await row_of(worker, program.run_id)
        assert (row["finished_at"] is not None) is is_finished
        assert (row["errored_at"] is None) is is_finished


async def test_cancelled_step_is_refused_and_then_let_go(database: Database) -> None:
    """Rule R14, rule R2."""
    program = await claimed(database, "run-1")
    end, _ = await database.transact(cancel, "run-1")
    assert end.status is Status.CANCELLED
    await _assert_refused(database, program, Done({"paid": True}))
    assert await let_go(database, program) is not None
    assert (await row_of(database, "run-1"))["lease"] is None
