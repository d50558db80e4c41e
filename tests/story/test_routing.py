"""Routing: a program goes to a worker that knows its job and serves its queue."""

from typing import Any

import pytest

from lines import Lines, logged
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.ledger import welcoming
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups import sweeper
from stage import Stage


@job
async def reserve(_ctx: JobContext) -> None:
    """Run in the default queue."""


@job(queue="bank")
async def charge(_ctx: JobContext) -> None:
    """Run in a queue of its own."""


async def workers_of(stage: Stage, run_id: str) -> list[tuple[str, str | None]]:
    """Return (job, worker) of each try."""
    return [(each.job, each.worker) for each in await stage.attempts(run_id)]


async def test_program_goes_to_the_worker_that_knows_its_next_job(stage: Stage) -> None:
    """Rule R13: it is released to the queue of that job."""
    await stage.hire(reserve, worker_name="shop")
    await stage.hire(charge, worker_name="bank", queues=["bank"])
    program = await stage.finished(await stage.submit("reserve", "charge", "reserve"))
    assert await workers_of(stage, program.run_id) == [
        ("reserve", "shop"),
        ("charge", "bank"),
        ("reserve", "shop"),
    ]


async def test_worker_goes_on_only_with_jobs_whose_queue_it_serves(stage: Stage) -> None:
    """Rule R13: knowing a job is not enough."""
    await stage.hire(reserve, charge, worker_name="shop")
    await stage.hire(reserve, charge, worker_name="bank", queues=["bank"])
    program = await stage.finished(await stage.submit("reserve", "charge"))
    assert await workers_of(stage, program.run_id) == [("reserve", "shop"), ("charge", "bank")]


async def test_worker_of_both_queues_goes_on_under_one_lease(stage: Stage) -> None:
    await stage.hire(reserve, charge, queues=["default", "bank"])
    program = await stage.finished(await stage.submit("reserve", "charge"))
    # submitted, claimed, and one change for each step: no release in between
    assert program.version == 4


async def test_job_that_nobody_knows_stays_pending_until_somebody_does(
    stage: Stage, logs: Lines
) -> None:
    """Invariant 10: it is never skipped in silence; rule R13: its wake-up is dropped."""
    await stage.hire(reserve)
    run_id = await stage.submit("reserve", "sign")
    await eventually(lambda: logged(logs, "wakeup.dropped"))
    program = await stage.program(run_id)
    assert (program.status, program.step, program.job) == (Status.PENDING, 1, "sign")
    assert await stage.outcomes(run_id) == ["done"]

    @job
    async def sign(_ctx: JobContext) -> dict[str, bool]:
        return {"is_signed": True}

    await stage.hire(sign)
    program = await stage.finished(run_id)
    assert program.job_data == {"sign": {"is_signed": True}}


async def test_program_follows_its_job_into_a_queue_that_was_not_known(stage: Stage) -> None:
    """A service that started first puts the program where it was told; its job is elsewhere."""
    await stage.hire(reserve)
    run_id = await stage.submit("charge", queue="default")
    await stage.until(run_id, lambda program: program.woken_at is not None)
    await stage.hire(charge, queues=["bank"])
    program = await stage.finished(run_id)
    assert program.queue == "bank"


async def test_programs_of_a_queue_wait_for_a_worker_that_serves_it(stage: Stage) -> None:
    await stage.hire(charge, worker_name="elsewhere")
    run_id = await stage.submit("charge", queue="bank")
    await stage.until(run_id, lambda program: program.woken_at is not None)
    assert (await stage.program(run_id)).status is Status.PENDING
    await stage.hire(charge, worker_name="bank", queues=["bank"])
    await stage.finished(run_id)
    assert await workers_of(stage, run_id) == [("charge", "bank")]


async def test_program_that_was_submitted_to_a_former_queue_is_woken_in_the_one_of_now(
    stage: Stage,
) -> None:
    """Whoever submitted it had read of the job before it moved."""
    await stage.hire(charge, queues=["bank"])
    program = await stage.finished(await stage.submit("charge", queue="default"))
    assert program.queue == "bank"


async def test_program_that_was_woken_before_its_job_moved_is_woken_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no worker moves it: the sweeper compares where it was woken with the registry."""

    async def welcome_nobody(*_told: Any, **_more: Any) -> None:
        pass

    monkeypatch.setattr(welcoming, "welcome_jobs", welcome_nobody)
    monkeypatch.setattr(sweeper, "LOOK_FOR_MOVED_EVERY_S", 0.0)
    run_id = await stage.submit("charge", queue="default")
    await stage.until(run_id, lambda program: program.woken_at is not None)
    await stage.hire(charge, queues=["bank"])
    program = await stage.finished(run_id)
    assert program.queue == "bank"
