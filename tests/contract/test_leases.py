"""Leases: how they are lost, counted and renewed."""

import uuid
from dataclasses import replace

import pytest

from builders import (
    HOUR_S,
    a_failure,
    attempts_of,
    by_hand,
    claimed,
    clock_of,
    lapse,
    reclaimed,
    recorded,
    row_of,
    seconds_ago,
    stands,
    submitted,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import Missed
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import (
    MAX_LEASE_LOSSES,
    WORKER_LOST,
    Claimed,
    Done,
    Fail,
    Status,
    Yielded,
    verdict,
)
from program_service.bookkeeping.retry import Retry


async def test_expired_lease_is_claimed_by_another_worker(database: Database) -> None:
    """Rule R1, invariant 8: the loss costs no retry of the job's own budget."""
    first = await claimed(database, "run-1", worker="worker-1")
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 0))
    second = await reclaimed(database, "run-1", worker="worker-2")
    assert second.lease != first.lease
    assert (second.lease_losses, second.step_retry_count, second.attempt) == (1, 0, 2)
    row = await row_of(database, "run-1")
    assert (row["claimed_by"], row["lease"], row["lease_losses"]) == ("worker-2", second.lease, 1)
    assert row["woken_at"] is None


async def test_worker_whose_own_lease_lapsed_gets_a_new_one(database: Database) -> None:
    """Rule R2: its name alone is no fence."""
    first = await claimed(database, "run-1")
    second = await reclaimed(database, "run-1", worker="worker-1")
    assert second.lease_losses == 1
    assert await recorded(database, first, Done()) is None
    assert await recorded(database, second, Done()) is not None


async def test_lost_lease_leaves_a_lost_attempt(database: Database) -> None:
    await claimed(database, "run-1", worker="worker-1")
    await reclaimed(database, "run-1", worker="worker-2")
    (attempt,) = await attempts_of(database, "run-1")
    assert (attempt.outcome, attempt.worker, attempt.job) == ("lost", "worker-1", "reserve")
    assert (attempt.step, attempt.attempt) == (0, 1)
    assert attempt.started_at is None
    assert attempt.finished_at is not None


async def test_program_whose_step_loses_three_leases_errors(database: Database) -> None:
    """Invariant 8: a poison job must not kill the fleet one pod at a time."""
    program = await claimed(database, "run-1")
    for losses in range(1, MAX_LEASE_LOSSES + 1):
        assert verdict(program, Retry()) is None
        program = await reclaimed(database, "run-1", worker=f"worker-{losses}")
    end = verdict(program, Retry())
    assert isinstance(end, Fail)
    await stands(database, program, end)
    row = await database.read(find, "run-1")
    assert row.status is Status.ERRORED
    assert row.error_message is not None
    assert row.error_message.startswith(WORKER_LOST)
    outcomes = [attempt.outcome for attempt in await attempts_of(database, "run-1")]
    assert outcomes == ["lost"] * MAX_LEASE_LOSSES + ["failed"]


async def test_losses_are_forgotten_after_the_step(database: Database) -> None:
    await claimed(database, "run-1")
    program = await reclaimed(database, "run-1")
    await stands(database, program, Done(), is_next_mine=False)
    assert (await row_of(database, "run-1"))["lease_losses"] == 0


async def test_losses_are_kept_while_the_step_goes_on(database: Database) -> None:
    await claimed(database, "run-1")
    program = await reclaimed(database, "run-1")
    await stands(database, program, Yielded())
    assert (await row_of(database, "run-1"))["lease_losses"] == 1


async def test_released_program_lost_no_lease(database: Database) -> None:
    program = await claimed(database, "run-1")
    await stands(database, program, Yielded())
    again = await try_claim(database, "run-1", worker="worker-2")
    assert isinstance(again, Claimed)
    assert (again.lease_losses, again.attempt) == (0, 1)


async def test_callback_that_did_not_come_in_time_counts_a_retry(database: Database) -> None:
    """Rule R1: awaiting is cleared, the budget pays, no lease was lost."""
    await submitted(database, "run-1")
    await by_hand(database, "run-1", awaiting=1, due_at=seconds_ago(database, 1))
    assert (await database.read(find, "run-1")).status is Status.WAITING
    program = await try_claim(database, "run-1")
    assert isinstance(program, Claimed)
    assert (program.step_retry_count, program.lease_losses, program.attempt) == (1, 0, 2)
    assert (await row_of(database, "run-1"))["awaiting"] is None
    assert await attempts_of(database, "run-1") == []


async def test_callback_may_come_until_its_deadline(database: Database) -> None:
    await submitted(database, "run-1")
    await by_hand(database, "run-1", awaiting=1, due_at=seconds_ago(database, -HOUR_S))
    assert await try_claim(database, "run-1") is Missed.GONE
    assert (await row_of(database, "run-1"))["awaiting"] == 1


async def test_renewal_moves_the_end_of_the_lease_and_nothing_that_clients_see(
    database: Database,
) -> None:
    """Rule R3, rule R7."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 0))
    before = await row_of(database, "run-1")
    earliest = await database.read(clock_of)
    hold = Hold(program.id, program.lease)
    renewals = await database.transact(renew, [hold], lease_s=2 * HOUR_S)
    assert renewals == {hold: Renewal.RENEWED}
    after = await row_of(database, "run-1")
    assert after["due_at"].timestamp() >= earliest.timestamp() + 2 * HOUR_S
    assert after["woken_at"] is None
    moved = {"due_at", "woken_at"}
    assert {k: v for k, v in after.items() if k not in moved} == {
        k: v for k, v in before.items() if k not in moved
    }


async def test_lease_that_lapsed_unnoticed_is_renewed(database: Database) -> None:
    """Invariant 3: nobody else holds the program."""
    program = await claimed(database, "run-1")
    await lapse(database, "run-1")
    hold = Hold(program.id, program.lease)
    assert await database.transact(renew, [hold], lease_s=HOUR_S) == {hold: Renewal.RENEWED}
    assert await try_claim(database, "run-1", worker="worker-2") is Missed.GONE


async def test_renewal_returns_only_the_leases_that_hold(database: Database) -> None:
    """Rule R3."""
    held = await claimed(database, "held")
    lost = await claimed(database, "lost")
    thief = await reclaimed(database, "lost")
    stranger = Hold(held.id, uuid.uuid4().hex)
    unknown = Hold(thief.id + 1_000, held.lease)
    holds = [stranger, Hold(lost.id, lost.lease), Hold(held.id, held.lease), unknown]
    renewals = await database.transact(renew, holds, lease_s=HOUR_S)
    assert renewals == dict.fromkeys(holds, Renewal.LOST) | {
        Hold(held.id, held.lease): Renewal.RENEWED
    }
    assert (await row_of(database, "lost"))["lease"] == thief.lease


async def test_renewal_leaves_leases_that_it_does_not_name(database: Database) -> None:
    """Rule R3: a worker's orphans must not live for ever."""
    named = await claimed(database, "named", worker="worker-1")
    await claimed(database, "orphan", worker="worker-1")
    before = await row_of(database, "orphan")
    await database.transact(renew, [Hold(named.id, named.lease)], lease_s=2 * HOUR_S)
    assert await row_of(database, "orphan") == before


async def test_renewal_carries_a_cancel(database: Database) -> None:
    """Rule R3, rule R14: for when the control message is lost."""
    program = await claimed(database, "run-1")
    await database.transact(cancel, "run-1")
    before = await row_of(database, "run-1")
    hold = Hold(program.id, program.lease)
    assert await database.transact(renew, [hold], lease_s=HOUR_S) == {hold: Renewal.LOST}
    assert await row_of(database, "run-1") == before
    await database.transact(resume, "run-1", queues={})
    assert await database.transact(renew, [hold], lease_s=HOUR_S) == {hold: Renewal.LOST}


async def test_errored_at_set_by_hand_stops_everything(database: Database) -> None:
    """Rule R2, invariant 6: claims, renewals and writes."""
    program = await claimed(database, "run-1")
    await by_hand(
        database, "run-1", errored_at=seconds_ago(database, 0), due_at=seconds_ago(database, 1)
    )
    before = await row_of(database, "run-1")
    assert await try_claim(database, "run-1", worker="worker-2") is Missed.GONE
    hold = Hold(program.id, program.lease)
    assert await database.transact(renew, [hold], lease_s=HOUR_S) == {hold: Renewal.LOST}
    assert await recorded(database, program, Done()) is None
    assert await recorded(database, program, Fail(a_failure())) is None
    assert await row_of(database, "run-1") == before


@pytest.mark.parametrize("count", [0, 1_000])
async def test_any_number_of_leases_is_renewed_at_once(database: Database, count: int) -> None:
    program = await claimed(database, "run-1")
    hold = Hold(program.id, program.lease)
    strangers = [replace(hold, id=hold.id + 1 + number) for number in range(count)]
    renewals = await database.transact(renew, [*strangers, hold], lease_s=HOUR_S)
    assert renewals == dict.fromkeys(strangers, Renewal.LOST) | {hold: Renewal.RENEWED}
