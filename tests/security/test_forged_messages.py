"""Forged messages: whoever may publish to RabbitMQ stops no step and drains no worker.

A message names what to look at; the row decides.
"""

import asyncio
from collections.abc import Sequence

import pytest

from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.renewing import Hold, still_open
from program_service.bookkeeping.ledger.workers import list_workers
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import Cancelled, Quieted
from program_workers import cancels
from servers import on_sqlite
from stage import Stage

FORGED = 2_000


@on_sqlite
async def test_message_drains_no_worker(stage: Stage) -> None:
    @job
    async def quick(_ctx: JobContext) -> None:
        pass

    shift = await stage.hire(quick)
    await stage.broker.announce(Quieted(shift.worker.process))
    for _ in range(3):
        await stage.finished(await stage.submit("quick"))
    (row,) = await stage.database.read(list_workers, beat_s=60)
    assert (row.queues, row.is_draining) == (["default"], False)
    assert shift.worker.is_ready.is_set()


@on_sqlite
async def test_message_stops_no_step_and_a_flood_of_them_costs_few_looks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks are counted while the step runs: far fewer than messages."""
    begun, gate, looks = asyncio.Event(), asyncio.Event(), 0

    async def counted(books: Books, holds: Sequence[Hold]) -> set[Hold]:
        nonlocal looks
        looks += 1
        return await still_open(books, holds)

    monkeypatch.setattr(cancels, "still_open", counted)

    @job
    async def slow(ctx: JobContext) -> dict[str, int]:
        begun.set()
        await gate.wait()
        return {"attempt": ctx.attempt}

    await stage.hire(slow)
    run_id = await stage.submit("slow")
    await asyncio.wait_for(begun.wait(), 30)
    for _ in range(FORGED):
        await stage.broker.announce(Cancelled(run_id))
        await asyncio.sleep(0)

    async def has_looked() -> bool:
        return looks > 0

    await eventually(has_looked)
    gate.set()
    program = await stage.finished(run_id)
    assert program.status is Status.FINISHED
    assert await stage.outcomes(run_id) == ["done"]
    assert 0 < looks < FORGED / 10
