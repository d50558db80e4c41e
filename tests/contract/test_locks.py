"""Locks: a statement waits for a row that somebody is changing, and then sees what became of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from builders import a_claim, a_claimant, claimed, lapse, recorded, row_of, submitted, try_claim
from patience import eventually
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import Missed, claim
from program_service.bookkeeping.ledger.counting import Tally, count
from program_service.bookkeeping.ledger.job_data import edit_job_data
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Claimed, Done
from servers import Connect, on_servers

R = TypeVar("R")

Change = Callable[[Books], Awaitable[Any]]

WAITING = {
    "postgresql": sa.text("""
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    """),
    "mysql": sa.text("""
        SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'
    """),
}


async def _meanwhile(connect: Connect, change: Change, waiter: Callable[[], Awaitable[R]]) -> R:
    """Change a row, let somebody wait for it, and only then commit."""
    holder, observer = connect(), connect()

    async def somebody_waits() -> bool:
        # MariaDB tells of locks from a cache that is renewed after 0.1 s in which nobody asked
        await asyncio.sleep(0.2)
        async with observer.engine.connect() as connection:
            return bool(await connection.scalar(WAITING[connection.dialect.name]))

    async def change_slowly(books: Books) -> asyncio.Future[R]:
        await change(books)
        waiting = asyncio.ensure_future(waiter())
        await eventually(somebody_waits)
        return waiting

    return await (await holder.transact(change_slowly))


async def _edit(books: Books) -> None:
    await edit_job_data(books, "run-1", "reserve", kind="set", value={"edited": True})


async def _cancel(books: Books) -> None:
    await cancel(books, "run-1")


async def _claim(books: Books) -> None:
    await claim(books, [a_claim("run-1")], a_claimant("worker-2"))


async def _submit(database: Database, *, is_lapsed: bool) -> None:
    await submitted(database, "run-1")
    if is_lapsed:
        await try_claim(database, "run-1")
        await lapse(database, "run-1")


before_and_after_a_lapse = pytest.mark.parametrize("is_lapsed", [False, True])


@on_servers
@before_and_after_a_lapse
async def test_claim_waits_for_an_edit_and_gets_the_program(
    connect: Connect, *, is_lapsed: bool
) -> None:
    """Rule R1: claims do not skip rows that are locked."""
    database = connect()
    await _submit(database, is_lapsed=is_lapsed)
    program = await _meanwhile(connect, _edit, lambda: try_claim(database, "run-1"))
    assert isinstance(program, Claimed)
    assert program.job_data == {"reserve": {"edited": True}}


@on_servers
@before_and_after_a_lapse
@pytest.mark.parametrize("change", [_cancel, _claim])
async def test_claim_waits_for_what_ends_or_takes_the_program_and_goes_without(
    connect: Connect, change: Change, *, is_lapsed: bool
) -> None:
    """Rule R1, invariant 3, invariant 6."""
    database = connect()
    await _submit(database, is_lapsed=is_lapsed)
    answer = await _meanwhile(connect, change, lambda: try_claim(database, "run-1"))
    assert answer is Missed.GONE
    row = await row_of(database, "run-1")
    assert row["errored_at"] is not None or row["claimed_by"] == "worker-2"


@on_servers
async def test_outcome_waits_for_an_edit_and_is_merged_into_it(connect: Connect) -> None:
    """Rule R10."""
    database = connect()
    program = await claimed(database, "run-1")
    outcome = Done({"reserved": 1})
    answer = await _meanwhile(connect, _edit, lambda: recorded(database, program, outcome))
    assert answer is not None
    assert answer.job_data == {"reserve": {"edited": True, "reserved": 1}}
    assert (await row_of(database, "run-1"))["job_data"] == answer.job_data


@on_servers
@pytest.mark.parametrize("outcome", [Done(), Done({"reserved": 1})])
async def test_outcome_that_waited_for_a_cancel_is_refused(connect: Connect, outcome: Done) -> None:
    """Rule R2, rule R14, invariant 6."""
    database = connect()
    program = await claimed(database, "run-1")
    answer = await _meanwhile(connect, _cancel, lambda: recorded(database, program, outcome))
    assert answer is None
    row = await row_of(database, "run-1")
    assert (row["step"], row["job_data"]) == (0, {})


@on_servers
async def test_counts_are_written_in_one_order_and_never_deadlock(connect: Connect) -> None:
    """In whatever order the batches are that two lanes count."""
    holder, observer, lanes = connect(), connect(), [connect(), connect()]
    tallies = [Tally("a", "done"), Tally("b", "done")]
    counting: list[asyncio.Future[None]] = []

    async def both_wait() -> bool:
        await asyncio.sleep(0.2)
        async with observer.engine.connect() as connection:
            waiting = await connection.scalar(WAITING[connection.dialect.name])
        # those of the next minute need not wait
        return waiting >= len(lanes) or all(each.done() for each in counting)

    async def count_slowly(books: Books) -> None:
        await count(books, tallies)
        for lane, batch in zip(lanes, (tallies, tallies[::-1]), strict=True):
            # a deadlock is not tried again
            once = lane.transact_within(0.0, count, batch)
            counting.append(asyncio.ensure_future(once))
        await eventually(both_wait)

    await holder.transact(count_slowly)
    await asyncio.gather(*counting)
