"""Outage: the database of a worker goes away; what jobs have done is recorded when it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from patience import eventually
from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.lifecycle import Status
from program_workers.worker import Stopped
from refusing import Cable
from servers import Connect, on_sqlite
from stage import Stage


@pytest.fixture
async def cable(connect: Connect) -> AsyncIterator[Cable]:
    """Return a worker's own cable; it is mended when workers are stopped at the end."""
    cable = Cable(connect())
    yield cable
    cable.is_cut = False


async def test_outcome_of_an_outage_is_recorded_after_it_without_a_second_run(
    stage: Stage, cable: Cable
) -> None:
    """Invariant 5: a step is begun twice only if its worker died, and this one did not."""
    runs: list[int] = []

    @job
    async def charge(ctx: JobContext) -> dict[str, int]:
        runs.append(ctx.attempt)
        cable.is_cut = True
        return {"receipt": 7}

    @job
    async def ship(_ctx: JobContext) -> None:
        pass

    await stage.hire(charge, ship, database=cable.database)
    run_id = await stage.submit("charge", "ship")
    await eventually(lambda: cable.has_refused(3))
    assert (await stage.program(run_id)).status is Status.RUNNING
    cable.is_cut = False
    program = await stage.finished(run_id)
    assert runs == [1]
    assert program.job_data == {"charge": {"receipt": 7}}
    assert await stage.outcomes(run_id) == ["done", "done"]


async def test_many_outcomes_wait_together(stage: Stage, cable: Cable) -> None:
    runs: list[str] = []
    all_run = asyncio.Barrier(20)

    @job
    async def charge(ctx: JobContext) -> None:
        runs.append(ctx.run_id)
        await all_run.wait()
        cable.is_cut = True

    await stage.hire(charge, database=cable.database)
    run_ids = [await stage.submit("charge") for _ in range(20)]
    await eventually(lambda: cable.has_refused(2))
    cable.is_cut = False
    await stage.all_finished(run_ids)
    assert sorted(runs) == sorted(run_ids)


async def test_job_data_waits_for_the_database_too(stage: Stage, cable: Cable) -> None:
    @job
    async def sync(ctx: JobContext) -> None:
        cable.is_cut = True
        await ctx.job_data.merge({"page": 1})

    await stage.hire(sync, database=cable.database)
    run_id = await stage.submit("sync")
    await eventually(lambda: cable.has_refused(2))
    cable.is_cut = False
    program = await stage.finished(run_id)
    assert program.job_data == {"sync": {"page": 1}}
    assert await stage.outcomes(run_id) == ["done"]


@pytest.mark.parametrize("name", ["hire", "hire_by_thread"])
@on_sqlite
async def test_child_that_cannot_be_stored_in_an_outage_costs_its_parent_no_attempt(
    stage: Stage, cable: Cable, name: str
) -> None:
    attempts: list[int] = []

    @contextmanager
    def outage_at_first() -> Iterator[None]:
        """Begin an outage that lasts until the worker has lost patience with it."""
        cable.is_cut = len(attempts) == 1
        try:
            yield
        finally:
            cable.is_cut = False

    @job
    async def hire(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        with outage_at_first():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ctx.start_program(["train"]))

    @job
    def hire_by_thread(ctx: ThreadJobContext) -> None:
        attempts.append(ctx.attempt)
        with outage_at_first():
            ctx.start_program(["train"])

    @job
    async def train(_ctx: JobContext) -> None:
        pass

    await stage.hire(hire, hire_by_thread, train, database=cable.database)
    run_id = await stage.submit(name)
    program = await stage.finished(run_id)
    assert attempts == [1, 1]
    assert program.error_message is None
    assert await stage.outcomes(run_id) == ["released", "done"]


async def test_wakeups_of_an_outage_are_claimed_after_it(stage: Stage, cable: Cable) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        pass

    await stage.hire(charge, database=cable.database)
    cable.is_cut = True
    run_ids = [await stage.submit("charge") for _ in range(10)]
    await eventually(lambda: cable.has_refused(2))
    cable.is_cut = False
    await stage.all_finished(run_ids)


@on_sqlite
async def test_worker_that_cannot_renew_stops_its_jobs_before_the_lease_ends(
    stage: Stage, cable: Cable
) -> None:
    """Rule R7: its own deadline ends before the database's, so no two run the step at a time."""
    goes: list[str] = []

    @job
    async def charge(ctx: JobContext) -> None:
        goes.append(f"begun {ctx.attempt}")
        if len(goes) > 1:
            return
        cable.is_cut = True
        try:
            await asyncio.Event().wait()
        finally:
            program = await stage.program(ctx.run_id)
            goes.append("stopped" if program.claimed_by == "cut off" else "too late")

    # one slot, so that it takes no wake-up away from the other while it is cut off
    await stage.hire(
        charge, database=cable.database, worker_name="cut off", lease_s=1.5, concurrency=1
    )
    run_id = await stage.submit("charge")
    await stage.until(run_id, lambda program: program.claimed_by == "cut off")
    await stage.hire(charge, worker_name="other")
    await stage.finished(run_id)
    cable.is_cut = False
    assert goes == ["begun 1", "stopped", "begun 2"]


@on_sqlite
async def test_worker_stops_in_time_although_the_database_is_away(
    stage: Stage, cable: Cable
) -> None:
    """Invariant 9: every await on the way down has a deadline."""

    @job
    async def charge(_ctx: JobContext) -> None:
        cable.is_cut = True
        await asyncio.Event().wait()

    shift = await stage.hire(charge, database=cable.database, grace_s=0.1)
    run_id = await stage.submit("charge")
    await stage.until(run_id, lambda _program: cable.is_cut)
    shift.stopping.set()
    await asyncio.wait([shift.working], timeout=20)
    assert shift.working.done()
    assert shift.working.result() is not Stopped.DRAINED
