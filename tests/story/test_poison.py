"""Poison: whatever a job does ends its own program at worst, never the worker."""

import asyncio
from collections.abc import Callable

import pytest

from program_executor import Job as LibraryJob
from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.lifecycle import MAX_LEASE_LOSSES, Status
from servers import on_sqlite
from stage import Stage

pytestmark = on_sqlite  # what jobs raise is judged before any database hears of it


class UnspeakableError(Exception):
    """An error that cannot be turned into a text, as those of careless libraries."""

    def __str__(self) -> str:
        raise AttributeError("there is no response to tell of")


class PanicError(BaseException):
    """What libraries written in Rust raise: no Exception, and no signal either."""


@job
async def bystander(_ctx: JobContext) -> None:
    """Do nothing, on the same worker."""


def raising(error: Callable[[], BaseException]) -> list[LibraryJob]:
    """Return a job of each kind that raises this."""

    @job("poison")
    async def in_the_loop(_ctx: JobContext) -> None:
        await asyncio.sleep(0)
        raise error()

    @job("poison")
    def in_a_thread(_ctx: ThreadJobContext) -> None:
        raise error()

    return [in_the_loop, in_a_thread]


@pytest.mark.parametrize("kind", [0, 1], ids=["async", "thread"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(lambda: SystemExit("bye"), "bye", id="sys.exit"),
        pytest.param(lambda: SystemExit(1), "1", id="sys.exit-code"),
        pytest.param(asyncio.CancelledError, "CancelledError", id="cancelled"),
        pytest.param(lambda: PanicError("the lock is poisoned"), "the lock", id="panic"),
        pytest.param(UnspeakableError, "UnspeakableError", id="unspeakable"),
        pytest.param(StopIteration, "StopIteration", id="stop-iteration"),
        pytest.param(
            lambda: BaseExceptionGroup("both", [SystemExit(1), ValueError("no")]),
            "both",
            id="group",
        ),
        pytest.param(lambda: ValueError("a\0b\ud800c"), "a\N{REPLACEMENT CHARACTER}b?c", id="nul"),
    ],
)
async def test_worker_outlives_what_a_job_raises(
    stage: Stage, kind: int, error: Callable[[], BaseException], message: str
) -> None:
    await stage.hire(raising(error)[kind], bystander)
    program = await stage.ended(await stage.submit("poison"), within_s=5)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert message in program.error_message
    await stage.finished(await stage.submit("bystander"))


async def test_worker_outlives_a_job_that_cancels_itself(stage: Stage) -> None:
    @job
    async def suicidal(_ctx: JobContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    await stage.hire(suicidal, bystander)
    run_id = await stage.submit("suicidal")
    await stage.until(run_id, lambda program: program.status is not Status.PENDING)
    await stage.finished(await stage.submit("bystander"))
    for losses in range(MAX_LEASE_LOSSES):
        if (await stage.program(run_id)).status is Status.RUNNING:  # seen as a lost worker
            await stage.orphan(run_id)
            await stage.until(run_id, ended_or_lost_more_than(losses))
    program = await stage.ended(run_id)
    assert program.status is Status.ERRORED
    await stage.finished(await stage.submit("bystander"))


def ended_or_lost_more_than(losses: int) -> Callable[[Program], bool]:
    """Return the condition that a program has ended, or lost more workers."""
    return lambda program: program.status.is_final or program.lease_losses > losses


async def test_worker_outlives_a_checkpoint_in_a_task_of_the_job(stage: Stage) -> None:
    """A TaskGroup wraps what its tasks raise, also what asks to go on later."""

    @job
    async def fan_out(ctx: JobContext) -> dict[str, bool]:
        if (await ctx.job_data.get()).get("is_half_done"):
            return {"is_done": True}

        async def half() -> None:
            await ctx.job_data.checkpoint({"is_half_done": True}, max_execution_time_s=0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(half())
        return {}

    await stage.hire(fan_out, bystander)
    program = await stage.finished(await stage.submit("fan_out"))
    assert program.job_data == {"fan_out": {"is_half_done": True, "is_done": True}}
    assert await stage.outcomes(program.run_id) == ["yielded", "done"]
    await stage.finished(await stage.submit("bystander"))
