"""Scale: long programs, many programs and long names."""

import asyncio

from program_executor import JobContext, job
from program_service.bookkeeping.lifecycle import Status
from stage import Stage

GREEK = ("αβγδεζηθικλμνξοπρστυφχψω" * 11)[:255]
LONG_S = 90.0


@job
async def step(_ctx: JobContext) -> None:
    """Do nothing."""


async def test_program_of_1000_jobs_finishes(stage: Stage) -> None:
    await stage.hire(step)
    program = await stage.ended(await stage.submit(*["step"] * 1_000), within_s=LONG_S)
    assert (program.status, program.step) == (Status.FINISHED, 1_000)
    attempts = await stage.attempts(program.run_id)
    assert [attempt.step for attempt in attempts] == list(range(1_000))


async def test_1000_programs_of_one_job_finish(stage: Stage) -> None:
    await stage.hire(step)
    run_ids = await asyncio.gather(*(stage.submit("step") for _ in range(1_000)))
    await stage.all_finished(run_ids, within_s=LONG_S)


async def test_job_name_of_255_greek_letters_finishes(stage: Stage) -> None:
    assert len(GREEK) == 255

    @job(GREEK)
    async def greek(ctx: JobContext) -> dict[str, str]:
        return {"name": ctx.job}

    await stage.hire(greek)
    program = await stage.finished(await stage.submit(GREEK))
    assert program.job_data == {GREEK: {"name": GREEK}}
