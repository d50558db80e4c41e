"""Children: a job starts another program, once, however often its step is tried."""

import asyncio
from collections.abc import Sequence
from typing import Any

from program_executor import JobContext, JobError, Retry, RetryableError, ThreadJobContext, job
from program_service.bookkeeping.ledger.keys import IdempotencyKey
from program_service.bookkeeping.ledger.reading import Filter, Program, list_programs
from program_service.bookkeeping.lifecycle import Status
from servers import on_postgresql
from stage import Stage

pytestmark = on_postgresql  # many writers at once, as in production

SOON = Retry(initial_s=0.01, jitter="none")


@job
async def child(ctx: JobContext) -> dict[str, Any]:
    """Return what it was started with."""
    return dict(ctx.program_data)


async def children_of(stage: Stage, run_id: str) -> Sequence[Program]:
    """Return the programs that the jobs of a program have started, oldest first."""
    everything = Filter(is_oldest_first=True, has_data=True)
    page = await stage.database.read(list_programs, everything, limit=200)
    return [program for program in page.programs if program.parent_run_id == run_id]


async def test_child_is_started_once_although_the_step_is_tried_again(stage: Stage) -> None:
    """Invariant 5: a step's effects may happen more than once; this one does not."""
    started: list[str] = []

    @job(retry=SOON)
    async def parent(ctx: JobContext) -> dict[str, str]:
        run_id = await ctx.start_program(
            ["child"], program_data={"try": ctx.attempt}, labels={"kind": "child"}
        )
        started.append(run_id)
        if ctx.attempt < 3:
            raise RetryableError("not yet")
        return {"child": run_id}

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent"))
    assert len(set(started)) == 1
    assert len(started) == 3
    (only,) = await children_of(stage, program.run_id)
    assert only.run_id == program.job_data["parent"]["child"]
    finished = await stage.finished(only.run_id)
    assert finished.labels == {"kind": "child"}
    assert finished.job_data == {"child": {"try": 1}}  # as it was started first


async def test_plain_job_starts_programs_too(stage: Stage) -> None:
    @job
    def parent(ctx: ThreadJobContext) -> dict[str, str]:
        return {"child": ctx.start_program(["child"], program_data={"from": "a thread"})}

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent"))
    finished = await stage.finished(program.job_data["parent"]["child"])
    assert finished.job_data == {"child": {"from": "a thread"}}
    assert finished.parent_run_id == program.run_id


async def test_each_call_and_each_step_starts_a_child_of_its_own(stage: Stage) -> None:
    @job(retry=SOON)
    async def parent(ctx: JobContext) -> None:
        await ctx.start_program(["child"], program_data={"number": 1})
        await ctx.start_program(["child"], program_data={"number": 2})
        if ctx.attempt == 1:
            raise RetryableError("once more")

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent", "parent"))
    children = await children_of(stage, program.run_id)
    assert [each.program_data["number"] for each in children] == [1, 2, 1, 2]


async def test_key_names_a_child_where_their_order_is_not_the_same(stage: Stage) -> None:
    @job(retry=SOON)
    async def parent(ctx: JobContext) -> None:
        customers = ["ann", "bob"] if ctx.attempt == 1 else ["bob", "cid", "ann"]
        for name in customers:
            await ctx.start_program(["child"], program_data={"name": name}, key=name)
        if ctx.attempt == 1:
            raise RetryableError("once more")

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent"))
    children = await children_of(stage, program.run_id)
    assert [each.program_data["name"] for each in children] == ["ann", "bob", "cid"]


async def test_key_that_looks_like_a_number_is_not_the_number_of_a_call(stage: Stage) -> None:
    @job(retry=SOON)
    async def parent(ctx: JobContext) -> None:
        for name, key in (("ann", "2"), ("bob", None), ("cid", None), ("dan", "3")):
            await ctx.start_program(["child"], program_data={"name": name}, key=key)
        if ctx.attempt == 1:
            raise RetryableError("once more")

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent"))
    children = await children_of(stage, program.run_id)
    assert [each.program_data["name"] for each in children] == ["ann", "bob", "cid", "dan"]


async def test_step_that_an_earlier_release_began_starts_its_children_once(stage: Stage) -> None:
    """That release has stored a call's number, and any key, after the number of the step."""

    @job
    async def parent(ctx: JobContext) -> dict[str, list[str]]:
        keys = (None, "ann", "3", None, "5")
        return {"run_ids": [await ctx.start_program(["child"], key=key) for key in keys]}

    old = {"0-1": "old-1", "0-ann": "old-ann", "0-3": "old-3", "0-5": "old-5"}
    for name, run_id in old.items():
        key = IdempotencyKey("run-1", name, "child")
        await stage.submit("child", run_id=run_id, parent_run_id="run-1", idempotency=key)
    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent", run_id="run-1"))
    started = program.job_data["parent"]["run_ids"]
    assert [started[0], started[1], started[2], started[4]] == list(old.values())
    children = await children_of(stage, "run-1")
    assert {each.run_id for each in children} == {*old.values(), started[3]}


async def test_child_with_a_job_that_nobody_registered_is_refused(stage: Stage) -> None:
    caught: list[str] = []

    @job
    async def parent(ctx: JobContext) -> None:
        for jobs in (["nobody_knows_me"], []):
            try:
                await ctx.start_program(jobs)
            except JobError as error:
                caught.append(str(error))

    await stage.hire(parent)
    program = await stage.finished(await stage.submit("parent"))
    assert "nobody_knows_me" in caught[0]
    assert len(caught) == 2
    assert await children_of(stage, program.run_id) == []


async def test_child_whose_job_data_are_no_objects_is_refused(stage: Stage) -> None:
    """It was stored, and could never be run."""
    caught: list[str] = []

    @job
    async def parent(ctx: JobContext) -> None:
        for wrong in ({"child": 5}, {"child": None}, {"child": [1]}):
            try:
                await ctx.start_program(["child"], job_data=wrong)
            except JobError as error:
                caught.append(str(error))

    await stage.hire(parent, child)
    program = await stage.finished(await stage.submit("parent"))
    assert [text.partition(",")[0] for text in caught] == [
        "job_data.child is a number",
        "job_data.child is null",
        "job_data.child is a list",
    ]
    assert await children_of(stage, program.run_id) == []


async def test_child_that_cannot_be_stored_fails_its_parent_only(stage: Stage) -> None:
    """Invariant 12: a bad row never fails its neighbours, whoever sent it."""

    together = asyncio.Barrier(5)  # so that their children share a transaction

    @job
    async def good(ctx: JobContext) -> None:
        await together.wait()
        await ctx.start_program(["child"])

    @job
    async def bad(ctx: JobContext) -> None:
        naive = (await stage.program(ctx.run_id)).created_at.replace(tzinfo=None)
        await together.wait()
        await ctx.start_program(["child"], start_at=naive)

    await stage.hire(good, bad, child)
    poisoned = await stage.submit("bad")
    run_ids = [await stage.submit("good") for _ in range(4)]
    program = await stage.ended(poisoned)
    assert program.status is Status.ERRORED
    assert "zone" in (program.error_message or "")
    for run_id in run_ids:
        await stage.finished(run_id)
