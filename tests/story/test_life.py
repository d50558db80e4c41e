"""The life of a program: its jobs run in order, see each other's results, and keep data."""

import threading
from typing import Any

from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.ledger.job_data import edit_job_data
from program_service.bookkeeping.lifecycle import Status
from stage import Stage


async def test_jobs_run_in_order_and_each_sees_the_results_before(stage: Stage) -> None:
    """Invariant 4: steps never run out of order."""
    seen: list[tuple[int, str, dict[str, Any]]] = []

    @job
    async def reserve(ctx: JobContext) -> dict[str, Any]:
        seen.append((ctx.step, ctx.job, dict(ctx.results)))
        return {"seat": 12}

    @job
    def charge(ctx: ThreadJobContext) -> dict[str, Any]:
        seen.append((ctx.step, ctx.job, dict(ctx.results)))
        return {"receipt": f"r-{ctx.results['reserve']['seat']}"}

    @job
    async def ship(ctx: JobContext) -> None:
        seen.append((ctx.step, ctx.job, dict(ctx.results)))

    await stage.hire(reserve, charge, ship)
    program = await stage.finished(await stage.submit("reserve", "charge", "ship"))
    nothing: dict[str, Any] = {}
    assert seen == [
        (0, "reserve", {"reserve": nothing, "charge": nothing, "ship": nothing}),
        (1, "charge", {"reserve": {"seat": 12}, "charge": nothing, "ship": nothing}),
        (2, "ship", {"reserve": {"seat": 12}, "charge": {"receipt": "r-12"}, "ship": nothing}),
    ]
    assert program.job_data == {"reserve": {"seat": 12}, "charge": {"receipt": "r-12"}}
    assert (program.step, program.due_at, program.claimed_by) == (3, None, None)
    assert await stage.outcomes(program.run_id) == ["done", "done", "done"]


async def test_job_sees_its_program(stage: Stage) -> None:
    seen: dict[str, Any] = {}

    @job("mail/welcome")
    async def welcome(ctx: JobContext) -> None:
        seen.update(
            run_id=ctx.run_id,
            jobs=list(ctx.jobs),
            attempt=ctx.attempt,
            program_data=ctx.program_data,
            key=ctx.idempotency_key,
            cancelled=ctx.cancelled,
            data=await ctx.job_data.get(),
        )

    await stage.hire(welcome)
    fields = {"program_data": {"customer": 42}, "job_data": {"mail/welcome": {"template": "a"}}}
    run_id = await stage.submit("mail/welcome", **fields)
    await stage.finished(run_id)
    assert seen == {
        "run_id": run_id,
        "jobs": ["mail/welcome"],
        "attempt": 1,
        "program_data": {"customer": 42},
        "key": f"{run_id}-0",
        "cancelled": False,
        "data": {"template": "a"},
    }


async def test_async_jobs_share_the_event_loop_and_plain_ones_run_in_threads(stage: Stage) -> None:
    threads: dict[str, threading.Thread] = {}

    @job
    async def in_the_loop(_ctx: JobContext) -> None:
        threads["loop"] = threading.current_thread()

    @job
    def in_a_thread(_ctx: ThreadJobContext) -> None:
        threads["thread"] = threading.current_thread()

    await stage.hire(in_the_loop, in_a_thread)
    await stage.finished(await stage.submit("in_the_loop", "in_a_thread"))
    assert threads["loop"] is threading.main_thread()
    assert threads["thread"] is not threading.main_thread()


async def test_async_job_keeps_data_while_it_runs(stage: Stage) -> None:
    read: list[dict[str, Any]] = []

    @job
    async def sync(ctx: JobContext) -> dict[str, Any]:
        read.append(await ctx.job_data.get())
        await ctx.job_data.set({"page": 1, "rows": {"a": 1}})
        await ctx.job_data.merge({"page": 2, "rows": {"b": 2}})
        read.append(await ctx.job_data.get())
        return {"is_done": True}

    await stage.hire(sync)
    program = await stage.finished(await stage.submit("sync"))
    # shallow: the later `rows` replaces the earlier
    assert read == [{}, {"page": 2, "rows": {"b": 2}}]
    assert program.job_data == {"sync": {"page": 2, "rows": {"b": 2}, "is_done": True}}


async def test_plain_job_keeps_data_while_it_runs(stage: Stage) -> None:
    read: list[dict[str, Any]] = []

    @job
    def sync(ctx: ThreadJobContext) -> None:
        read.append(ctx.job_data.get())
        ctx.job_data.set({"page": 1, "note": "old"})
        ctx.job_data.merge({"page": 2})
        read.append(ctx.job_data.get())

    await stage.hire(sync)
    program = await stage.finished(await stage.submit("sync"))
    assert read == [{}, {"page": 2, "note": "old"}]
    assert program.job_data == {"sync": {"page": 2, "note": "old"}}


async def test_job_that_stands_twice_in_a_program_shares_its_data(stage: Stage) -> None:
    @job
    async def count(ctx: JobContext) -> dict[str, int]:
        return {"times": (await ctx.job_data.get()).get("times", 0) + 1}

    await stage.hire(count)
    program = await stage.finished(await stage.submit("count", "count", "count"))
    assert program.job_data == {"count": {"times": 3}}


async def test_edit_from_outside_reaches_the_next_step(stage: Stage) -> None:
    """Rule R10: a job writes its own key only, so nothing of the others' is overwritten."""

    @job
    async def first(ctx: JobContext) -> dict[str, int]:
        await stage.database.transact(
            edit_job_data, ctx.run_id, "second", kind="merge", value={"approved": True}
        )
        return {"mine": 2}

    @job
    async def second(ctx: JobContext) -> dict[str, Any]:
        return {"first": ctx.results["first"], **await ctx.job_data.get()}

    await stage.hire(first, second)
    run_id = await stage.submit("first", "second", job_data={"second": {"given": 1}})
    program = await stage.finished(run_id)
    assert program.job_data["second"] == {"given": 1, "approved": True, "first": {"mine": 2}}


async def test_program_waits_for_its_start(stage: Stage) -> None:
    @job
    async def greet(_ctx: JobContext) -> None:
        pass

    await stage.hire(greet)
    database_time = (await stage.program(await stage.submit("greet"))).created_at
    late = database_time.replace(year=database_time.year + 1)
    run_id = await stage.submit("greet", start_at=late)
    assert (await stage.program(run_id)).status is Status.SCHEDULED
    await stage.orphan(run_id)
    await stage.finished(run_id)
