"""Refused: the database does not take what a step came to, and only that program suffers."""

import asyncio

from lines import Lines, of_event
from program_executor import JobContext, ProgramEvent, job, on_error, on_finish
from program_service.bookkeeping.lifecycle import Status
from refusing import own_constraint
from servers import on_postgresql
from stage import Stage

pytestmark = on_postgresql

NO_CARDS = "job_data::text NOT LIKE '%card%'"


async def test_refused_outcome_fails_its_program_and_no_neighbour(
    stage: Stage, logs: Lines
) -> None:
    """Invariant 12: the batch is split until the bad row is alone."""
    together = asyncio.Barrier(5)  # so that their outcomes share a transaction

    @job
    async def charge(ctx: JobContext) -> dict[str, int]:
        await together.wait()
        return {"card": 42} if ctx.program_data.get("is_bad") else {"receipt": 42}

    await stage.hire(charge)
    async with own_constraint(stage.database, NO_CARDS):
        bad = await stage.submit("charge", program_data={"is_bad": True})
        run_ids = [await stage.submit("charge") for _ in range(4)]
        program = await stage.ended(bad)
        for run_id in run_ids:
            await stage.finished(run_id)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "refused to store" in program.error_message
    (line,) = of_event(logs, "outcome.refused_by_database")
    assert line["run_id"] == bad


async def test_no_step_follows_a_refused_outcome(stage: Stage) -> None:
    """Rule R8: the next step starts only after the commit of the one before."""
    ran: list[str] = []

    @job
    async def charge(_ctx: JobContext) -> dict[str, int]:
        ran.append("charge")
        return {"card": 42}

    @job
    async def ship(_ctx: JobContext) -> None:
        ran.append("ship")

    await stage.hire(charge, ship)
    async with own_constraint(stage.database, NO_CARDS):
        program = await stage.ended(await stage.submit("charge", "ship"))
        await stage.crew.stop()
    assert (program.status, program.step) == (Status.ERRORED, 0)
    assert ran == ["charge"]
    assert await stage.outcomes(program.run_id) == ["failed"]


async def test_refused_outcome_is_told_as_the_error_that_it_became(
    stage: Stage, logs: Lines
) -> None:
    told: list[str] = []

    @on_error
    async def errored(event: ProgramEvent) -> None:
        told.append(event.moment)

    @on_finish
    async def finished(event: ProgramEvent) -> None:
        told.append(event.moment)

    @job
    async def charge(_ctx: JobContext) -> dict[str, int]:
        return {"card": 42}

    shift = await stage.hire(charge, hooks=[errored, finished])
    async with own_constraint(stage.database, NO_CARDS):
        await stage.ended(await stage.submit("charge"))
        await stage.crew.stop()
    assert told == ["error"]
    assert len(of_event(logs, "Consumer error finish")) == 1
    counted = shift.metrics.registry.get_sample_value
    outcome = "program_executor_programs_finished_total"
    assert counted(outcome, {"outcome": "errored"}) == 1
    assert counted(outcome, {"outcome": "finished"}) == 0


async def test_job_data_that_is_refused_raises_in_the_job(stage: Stage) -> None:
    @job
    async def charge(ctx: JobContext) -> None:
        await ctx.job_data.set({"card": 42})

    @job
    async def other(ctx: JobContext) -> None:
        await ctx.job_data.set({"receipt": 42})

    await stage.hire(charge, other)
    async with own_constraint(stage.database, NO_CARDS):
        bad = await stage.submit("charge")
        good = [await stage.submit("other") for _ in range(4)]
        program = await stage.ended(bad)
        for run_id in good:
            await stage.finished(run_id)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "no_secrets" in program.error_message
