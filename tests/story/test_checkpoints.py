"""Checkpoints: a long job stores its progress and goes on later, at the same step."""

from typing import Any

import pytest

from program_executor import JobContext, Retry, RetryableError, ThreadJobContext, job
from program_service.bookkeeping.lifecycle import Status
from program_workers import repeats
from servers import on_sqlite
from stage import Stage

pytestmark = on_sqlite  # the contract's tests yield on both

PAGES = 4


async def test_checkpoint_puts_the_program_back_and_the_job_goes_on_from_it(stage: Stage) -> None:
    tries: list[dict[str, Any]] = []

    @job("import")
    async def import_pages(ctx: JobContext) -> dict[str, int]:
        progress = await ctx.job_data.get()
        tries.append({"attempt": ctx.attempt, "from": progress.get("page", 0)})
        for page in range(progress.get("page", 0), PAGES):
            await ctx.job_data.checkpoint({"page": page + 1}, max_execution_time_s=0)
        return {"pages": PAGES}

    @job
    async def report(ctx: JobContext) -> dict[str, int]:
        return {"pages": ctx.results["import"]["pages"]}

    await stage.hire(import_pages, report)
    program = await stage.finished(await stage.submit("import", "report"))
    # no retry is counted, so each go is the first try of its step
    assert tries == [{"attempt": 1, "from": page} for page in range(PAGES + 1)]
    assert program.job_data == {"import": {"page": 4, "pages": 4}, "report": {"pages": 4}}
    assert (program.step_retry_count, program.error_message) == (0, None)
    assert await stage.outcomes(program.run_id) == ["yielded"] * PAGES + ["done", "done"]


async def test_plain_job_has_checkpoints_too(stage: Stage) -> None:
    tries: list[int] = []

    @job("import")
    def import_pages(ctx: ThreadJobContext) -> None:
        page = ctx.job_data.get().get("page", 0)
        tries.append(page)
        while page < 2:
            page += 1
            ctx.job_data.checkpoint({"page": page}, max_execution_time_s=0)

    await stage.hire(import_pages)
    program = await stage.finished(await stage.submit("import"))
    assert tries == [0, 1, 2]
    assert program.job_data == {"import": {"page": 2}}


async def test_checkpoint_before_the_time_is_over_only_stores(stage: Stage) -> None:
    @job("import")
    async def import_pages(ctx: JobContext) -> None:
        for page in range(PAGES):
            await ctx.job_data.checkpoint({"page": page + 1}, max_execution_time_s=3_600)

    await stage.hire(import_pages)
    program = await stage.finished(await stage.submit("import"))
    assert program.job_data == {"import": {"page": PAGES}}
    assert await stage.outcomes(program.run_id) == ["done"]


async def test_retry_goes_on_from_the_last_checkpoint_and_keeps_its_count(stage: Stage) -> None:
    tries: list[tuple[int, int]] = []

    @job("import", retry=Retry(max_attempts=2, initial_s=0.01))
    async def import_pages(ctx: JobContext) -> None:
        page = (await ctx.job_data.get()).get("page", 0)
        tries.append((ctx.attempt, page))
        if page == 1 and ctx.attempt == 1:
            raise RetryableError("the disk is busy")
        if page < 3:
            await ctx.job_data.checkpoint({"page": page + 1}, max_execution_time_s=0)

    await stage.hire(import_pages)
    program = await stage.finished(await stage.submit("import"))
    assert tries == [(1, 0), (1, 1), (2, 1), (2, 2), (2, 3)]
    assert await stage.outcomes(program.run_id) == [
        "yielded",
        "retry",
        "yielded",
        "yielded",
        "done",
    ]


async def test_others_have_their_turn_between_two_checkpoints(stage: Stage) -> None:
    order: list[str] = []

    @job
    async def long(ctx: JobContext) -> None:
        order.append("long")
        if "page" not in await ctx.job_data.get():
            await stage.submit("short")
            await ctx.job_data.checkpoint({"page": 1}, max_execution_time_s=0)

    @job
    async def short(_ctx: JobContext) -> None:
        order.append("short")

    await stage.hire(long, short, concurrency=1)
    await stage.finished(await stage.submit("long"))
    await stage.all_finished([])
    assert sorted(order) == ["long", "long", "short"]
    assert order[0] == "long"


async def test_job_whose_checkpoints_store_nothing_new_errors_in_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "FREE", 2)
    monkeypatch.setattr(repeats, "LONGEST_PAUSE_S", 0.05)

    @job(retry=Retry(max_attempts=2, initial_s=0.01))
    async def sync(ctx: JobContext) -> None:
        await ctx.job_data.checkpoint({"page": 1}, max_execution_time_s=0)

    await stage.hire(sync)
    program = await stage.ended(await stage.submit("sync", job_data={"sync": {"page": 1}}))
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "stored nothing new" in program.error_message
    assert await stage.outcomes(program.run_id) == ["yielded", "yielded", "retry", "failed"]
