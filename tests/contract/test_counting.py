"""Counting: what is written is counted in the same transaction, once, whatever else happens."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from builders import (
    WORKER,
    a_claim,
    a_claimant,
    a_failure,
    a_program,
    a_record,
    claimed,
    clock_of,
    counts_of,
    lapse,
    later,
    let_go,
    next_step,
    reclaimed,
    recorded,
    rollups_of,
    stands,
    submitted,
    submitted_all,
)
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.callbacks import Report, Ticket, settle_callback
from program_service.bookkeeping.ledger.claiming import claim
from program_service.bookkeeping.ledger.counting import MAX_BUCKET, bucket_of, seconds_of
from program_service.bookkeeping.ledger.recording import StepRecord, record, record_at_once
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import (
    Claimed,
    Done,
    Fail,
    Outcome,
    Released,
    RetryLater,
    Yielded,
)
from servers import Connect, on_postgresql


async def _held(database: Database, count: int, **fields: Any) -> list[Claimed]:
    """Submit programs and claim them."""
    programs = [a_program(**fields) for _ in range(count)]
    await submitted_all(database, programs)
    claims = [a_claim(program.run_id) for program in programs]
    answers = await database.transact(claim, claims, a_claimant())
    return [answer for answer in answers if isinstance(answer, Claimed)]


def _lasting(step: StepRecord, seconds: float) -> StepRecord:
    return replace(step, began=step.ended - seconds)


async def test_submitting_and_claiming_count_nothing(database: Database) -> None:
    await claimed(database)
    assert await counts_of(database) == {}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Done(), "done"),
        (Done({"a": 1}), "done"),
        (RetryLater(a_failure()), "retry"),
        (Fail(a_failure()), "failed"),
        (Fail(a_failure(), is_ignorable=True), "ignored"),
        (Yielded(), "yielded"),
        (Released(), "released"),
    ],
)
async def test_every_outcome_is_counted(database: Database, outcome: Outcome, word: str) -> None:
    await stands(database, await claimed(database), outcome)
    assert await counts_of(database) == {("reserve", word, WORKER): 1}


async def test_step_that_finishes_its_program_is_counted_as_that(database: Database) -> None:
    program = await claimed(database)
    for _ in program.jobs[1:]:
        program = next_step(program, await stands(database, program, Done()))
    await stands(database, program, Done())
    assert await counts_of(database) == {
        ("reserve", "done", WORKER): 1,
        ("charge", "done", WORKER): 1,
        ("ship", "finished", WORKER): 1,
    }


async def test_cancel_is_counted_once_and_the_attempt_that_it_ended_apart(
    database: Database,
) -> None:
    program = await claimed(database, "run-1")
    for _ in range(2):
        await database.transact(cancel, "run-1")
    assert await counts_of(database) == {("reserve", "cancelled", ""): 1}
    assert await recorded(database, program, Done()) is None
    await let_go(database, program)
    assert await counts_of(database) == {
        ("reserve", "cancelled", ""): 1,
        ("reserve", "let_go", WORKER): 1,
    }


async def test_lost_lease_is_counted_for_the_worker_that_lost_it(database: Database) -> None:
    first = await claimed(database, "run-1", worker="worker-1")
    second = await reclaimed(database, "run-1", worker="worker-2")
    assert await recorded(database, first, Done()) is None
    await stands(database, second, Done())
    assert await counts_of(database) == {
        ("reserve", "lost", "worker-1"): 1,
        ("reserve", "done", WORKER): 1,
    }


async def test_retry_that_comes_due_loses_no_lease(database: Database) -> None:
    await stands(database, await claimed(database, "run-1"), later())
    await lapse(database, "run-1")
    await database.transact(claim, [a_claim("run-1")], a_claimant())
    assert await counts_of(database) == {("reserve", "retry", WORKER): 1}


@pytest.mark.parametrize("outcome", [Done(), Fail(a_failure()), RetryLater(a_failure())])
async def test_outcome_that_an_endpoint_reports_is_counted(
    database: Database, outcome: Done | Fail | RetryLater
) -> None:
    await submitted(database, "run-1")
    report = Report(Ticket("run-1", 0, 0, 1), outcome)
    await database.transact(settle_callback, report, queues={})
    ((job, _, worker),) = await counts_of(database)
    assert (job, worker) == ("reserve", "callback")


async def test_batch_is_one_row_for_each_kind(database: Database) -> None:
    programs = await _held(database, 10)
    outcomes = [Fail(a_failure()) if number % 5 == 4 else Done() for number in range(10)]
    steps = [a_record(*each) for each in zip(programs, outcomes, strict=True)]
    await database.transact(record, [_lasting(step, 3.0) for step in steps])
    rows = await rollups_of(database)
    found = {(row["outcome"], row["bucket"], row["shard"]): row["count"] for row in rows}
    bucket = bucket_of(3.0)
    assert found == {("done", bucket, 0): 8, ("failed", bucket, 0): 2}


async def test_minute_is_that_of_the_databases_clock(database: Database) -> None:
    """Invariant 11."""
    before = await database.read(clock_of)
    await stands(database, await claimed(database), Done())
    after = await database.read(clock_of)
    (row,) = await rollups_of(database)
    minutes = {moment.replace(second=0, microsecond=0) for moment in (before, after)}
    assert row["minute"] in minutes
    assert after - row["minute"] < timedelta(minutes=2)


async def test_record_that_is_tried_again_counts_once(database: Database) -> None:
    """Rule R4: the receipts stand, the rows do not change, and nothing is counted."""
    steps = [a_record(program, Done({"a": 1})) for program in await _held(database, 3)]
    for _ in range(2):
        assert None not in await database.transact(record, steps)
    assert await counts_of(database) == {("reserve", "done", WORKER): 3}


async def test_what_is_rolled_back_is_not_counted(database: Database) -> None:
    program = await claimed(database)

    async def fail(books: Books) -> None:
        await record(books, [a_record(program, Done())])
        raise KeyError

    with pytest.raises(KeyError):
        await database.transact(fail)
    assert await counts_of(database) == {}


@on_postgresql  # the others have no such statement
async def test_one_statement_counts_as_the_transaction_does(connect: Connect) -> None:
    database = connect()
    outcomes: list[Outcome] = [Done(), later(), Fail(a_failure()), Yielded(), Released()]
    found = []
    for work in (record, record_at_once):
        steps = [
            _lasting(a_record(program, outcome), number + 0.5)
            for number, outcome in enumerate(outcomes)
            for jobs in (["reserve"], ["reserve", "charge"])
            for program in await _held(database, 2, jobs=jobs)
        ]
        assert None not in await database.transact(work, steps)
        assert await database.transact(record_at_once, steps) == [None] * len(steps)
        rows = await rollups_of(database)
        found.append({(row["outcome"], row["bucket"]): row["count"] for row in rows})
        async with database.engine.begin() as connection:
            await connection.execute(sa.delete(database.tables.rollups))
    assert found[0] == found[1]
    assert sum(found[0].values()) == 2 * 2 * len(outcomes)


@pytest.mark.parametrize("seconds", [0.0011, 0.004, 0.03, 0.5, 1.0, 17.0, 3_600.0, 500_000.0])
def test_bucket_tells_a_duration_to_a_fifth(seconds: float) -> None:
    assert abs(seconds_of(bucket_of(seconds)) / seconds - 1) < 0.2


def test_buckets_have_ends() -> None:
    assert (bucket_of(0.0), bucket_of(-1.0), bucket_of(1e-9)) == (-1, -1, 0)
    assert bucket_of(1e9) == MAX_BUCKET
