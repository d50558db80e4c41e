"""Refused rows: the database lets one row be changed no more, and every other goes its way.

A trigger, or a constraint that was added later, refuses every change of such a row: whatever
is written for many programs at once is written for the others.
"""

import asyncio
from typing import Any

import pytest

from builders import by_hand, seconds_ago
from lines import Lines, of_event
from program_executor import JobContext, job
from program_service.bookkeeping.errors import RowLocked
from program_service.bookkeeping.ledger import welcoming
from program_service.bookkeeping.lifecycle import Status
from refusing import own_trigger
from stage import Stage

LEASE_S = 6.0
BAD = "OLD.submitted_by = 'bad'"


async def test_row_that_refuses_its_renewal_costs_no_other_its_lease(
    stage: Stage, logs: Lines
) -> None:
    may_end = asyncio.Event()

    @job
    async def work(_ctx: JobContext) -> None:
        await may_end.wait()

    shift = await stage.hire(work, lease_s=LEASE_S)
    bad = await stage.submit("work", submitted_by="bad")
    good = [await stage.submit("work") for _ in range(4)]
    for run_id in (bad, *good):
        await stage.until(run_id, lambda program: program.status is Status.RUNNING)
    async with own_trigger(stage.database, BAD):
        await stage.all_renewed(good, times=3)
        may_end.set()
        for run_id in good:
            assert (await stage.finished(run_id)).lease_losses == 0
            assert await stage.outcomes(run_id) == ["done"]
    await stage.ended(bad)  # its outcome was refused, too, if it came before the trigger went
    assert shift.metrics.leases_lost._value.get() <= 1
    refused = of_event(logs, "program.row_refused")
    assert {(line["run_id"], line["during"]) for line in refused} == {(bad, "renew")}


@pytest.mark.parametrize("code", ["P0001", "08001"])
async def test_row_that_refuses_its_mark_holds_up_no_other(
    stage: Stage, logs: Lines, code: str
) -> None:
    """Rule R5; nor is it woken for again at once: it is passed by."""

    @job
    async def work(_ctx: JobContext) -> None:
        pass

    bad = await stage.submit("work", submitted_by="bad")
    await by_hand(stage.database, bad, due_at=seconds_ago(stage.database, 60), woken_at=None)
    async with own_trigger(stage.database, BAD, code=code):
        await stage.hire(work)
        for _ in range(3):
            run_id = await stage.submit("work")
            await stage.finished(run_id)
            late = await stage.submit("work", "work")
            await stage.finished(late)
        waiting = [await stage.submit("elsewhere") for _ in range(3)]

        @job
        async def elsewhere(_ctx: JobContext) -> None:
            pass

        await stage.hire(elsewhere)
        for run_id in waiting:
            await stage.finished(run_id)
    await stage.finished(bad)
    assert {line["run_id"] for line in of_event(logs, "program.row_refused")} == {bad}


async def test_row_that_refuses_to_move_keeps_no_worker_from_starting(
    stage: Stage, logs: Lines
) -> None:
    @job(queue="default")
    async def work(_ctx: JobContext) -> None:
        pass

    run_ids = [await stage.submit("work", queue="former", submitted_by=by) for by in (None, "bad")]
    async with own_trigger(stage.database, BAD):
        await stage.hire(work)
        await stage.finished(run_ids[0])
    await stage.finished(run_ids[1])
    assert of_event(logs, "worker.welcome_refused")


async def test_welcome_that_takes_too_long_keeps_no_worker_from_starting(
    stage: Stage, logs: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million programs are to move, and a statement has half a minute."""

    async def welcome(*_args: Any, **_options: Any) -> None:
        raise RowLocked

    @job
    async def work(_ctx: JobContext) -> None:
        pass

    monkeypatch.setattr(welcoming, "welcome_jobs", welcome)
    run_id = await stage.submit("work", queue="former")
    await stage.hire(work)
    await stage.finished(run_id)
    assert of_event(logs, "worker.welcome_refused")


@pytest.mark.parametrize("code", ["P0001", "08001", "42P01"])
async def test_claim_that_a_row_refuses_takes_no_slot(stage: Stage, logs: Lines, code: str) -> None:
    @job
    async def work(_ctx: JobContext) -> None:
        pass

    bad = [await stage.submit("work", submitted_by="bad") for _ in range(3)]
    async with own_trigger(stage.database, BAD, code=code):
        await stage.hire(work, concurrency=1)
        for _ in range(3):
            await stage.finished(await stage.submit("work"))
    for run_id in bad:
        await stage.finished(run_id)
    assert {line["run_id"] for line in of_event(logs, "claim.refused_by_database")} <= set(bad)
