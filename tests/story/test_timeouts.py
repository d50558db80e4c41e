"""Timeouts: a job that runs too long is stopped, and its step tried again."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from lines import Lines, logged
from patience import eventually
from program_executor import Job as LibraryJob
from program_executor import JobContext, Retry, ThreadJobContext, job
from program_service.bookkeeping.lifecycle import Status
from program_workers.library import job_of
from servers import on_sqlite
from stage import Stage

pytestmark = on_sqlite  # time is up in the worker, not in the database

SOON = Retry(max_attempts=2, initial_s=0.01)


async def test_async_job_that_runs_too_long_is_cancelled_and_tried_again(stage: Stage) -> None:
    cancelled: list[int] = []

    @job(timeout_s=0.1, retry=SOON)
    async def slow(ctx: JobContext) -> dict[str, int]:
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(ctx.attempt)
                raise
        return {"attempt": ctx.attempt}

    await stage.hire(slow)
    program = await stage.finished(await stage.submit("slow"))
    assert cancelled == [1]
    assert program.job_data == {"slow": {"attempt": 2}}
    first = (await stage.attempts(program.run_id))[0]
    assert (first.outcome, first.error_type, first.error_code) == ("retry", "timeout", "timeout")
    assert first.error_message is not None
    assert "'slow' ran longer than 0.1 s" in first.error_message


async def test_job_whose_task_group_failed_before_has_timed_out_all_the_same(stage: Stage) -> None:
    """Before Python 3.13 such a group leaves its task marked as if somebody had cancelled it."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    @job(timeout_s=0.1, retry=SOON)
    async def slow(_ctx: JobContext) -> None:
        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
        await asyncio.Event().wait()

    await stage.hire(slow)
    program = await stage.ended(await stage.submit("slow"))
    assert program.status is Status.ERRORED
    assert await stage.outcomes(program.run_id) == ["retry", "failed"]


async def test_timeouts_use_up_the_tries_like_other_failures(stage: Stage) -> None:
    @job(timeout_s=0.05, retry=SOON)
    async def slow(_ctx: JobContext) -> None:
        await asyncio.Event().wait()

    await stage.hire(slow)
    program = await stage.ended(await stage.submit("slow"))
    assert program.status is Status.ERRORED
    assert await stage.outcomes(program.run_id) == ["retry", "failed"]


async def test_job_that_swallows_its_cancellation_has_timed_out_all_the_same(stage: Stage) -> None:
    @job(timeout_s=0.05, retry=SOON)
    async def stubborn(ctx: JobContext) -> dict[str, int]:
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return {"attempt": 1}
        return {"attempt": ctx.attempt}

    await stage.hire(stubborn)
    program = await stage.finished(await stage.submit("stubborn"))
    assert program.job_data == {"stubborn": {"attempt": 2}}


async def test_timeout_of_the_jobs_own_is_an_error_like_any_other(stage: Stage) -> None:
    @job(timeout_s=60)
    async def impatient(_ctx: JobContext) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    await stage.hire(impatient)
    program = await stage.ended(await stage.submit("impatient"))
    assert (program.status, program.error_message) == (Status.ERRORED, "TimeoutError")


async def test_thread_that_runs_too_long_keeps_its_slot_and_its_result_is_lost(
    stage: Stage, logs: Lines
) -> None:
    """Invariant 13: nothing that a stopped thread returns is recorded."""
    begun, let_end = threading.Event(), threading.Event()
    saw: list[bool] = []

    @job(timeout_s=0.1, retry=SOON)
    def slow(ctx: ThreadJobContext) -> dict[str, int]:
        if ctx.attempt == 1:
            begun.set()
            let_end.wait(60)
            saw.append(ctx.cancelled)
        return {"attempt": ctx.attempt, f"was_{ctx.attempt}": 1}

    @job
    async def other(_ctx: JobContext) -> None:
        pass

    await stage.hire(slow, other, concurrency=1)
    run_id = await stage.submit("slow")
    await asyncio.to_thread(begun.wait, 30)
    behind = await stage.submit("other")
    await eventually(lambda: logged(logs, "thread.outlives_its_step"))
    # its wake-up is out: were a slot free, it would be claimed
    await stage.until(behind, lambda program: program.woken_at is not None)
    assert (await stage.program(run_id)).status is Status.RUNNING
    assert (await stage.program(behind)).status is Status.PENDING
    let_end.set()
    program = await stage.finished(run_id)
    await stage.finished(behind)
    assert saw == [True]
    assert program.job_data == {"slow": {"attempt": 2, "was_2": 1}}
    assert await stage.outcomes(run_id) == ["retry", "done"]


BRIEF = Retry(max_attempts=1)


@job("queued", timeout_s=0.2, retry=BRIEF)
def plain(_ctx: ThreadJobContext) -> None:
    """Need a thread."""


class Loaded:
    """A job that begins in the event loop, and needs a thread then."""

    name, timeout_s, retry = "queued", 0.2, BRIEF

    @staticmethod
    async def create(_program_data: dict[str, Any]) -> "Loaded":
        """Return one."""
        return Loaded()

    def execute(self, _message: object, _job_data: object) -> None:
        """Need a thread."""


@job
async def prepare(_ctx: JobContext) -> None:
    """Need no thread."""


@contextmanager
def blocking() -> Iterator[LibraryJob]:
    """Yield a job that keeps its thread until the end."""
    let_end = threading.Event()

    @job("block")
    def block(_ctx: ThreadJobContext) -> None:
        let_end.wait(60)

    try:
        yield block
    finally:
        let_end.set()


@pytest.mark.parametrize("needing", [plain, job_of(Loaded)], ids=["plain", "class"])
async def test_job_that_needs_a_thread_is_claimed_when_one_is_free(
    stage: Stage, needing: LibraryJob
) -> None:
    """A budget begins with the work: waiting is neither an attempt nor a change of the row."""
    with blocking() as block:
        await stage.hire(block, needing, prepare, threads=1)
        first = await stage.submit("block")
        await stage.until(first, lambda program: program.status is Status.RUNNING)
        run_ids = [await stage.submit("queued") for _ in range(3)]
        # the next program is run past them: nobody waits for an unrelated party
        await stage.finished(await stage.submit("prepare"))
        await asyncio.sleep(0.5)  # longer than the time of an attempt
        for run_id in run_ids:
            program = await stage.program(run_id)
            assert (program.status, program.version) == (Status.PENDING, 1)
            assert await stage.attempts(run_id) == []
    await stage.all_finished([first, *run_ids])
    for run_id in run_ids:
        assert await stage.outcomes(run_id) == ["done"]
        assert (await stage.program(run_id)).version == 3


async def test_program_leaves_its_worker_before_a_step_that_there_is_no_thread_for(
    stage: Stage,
) -> None:
    with blocking() as block:
        await stage.hire(block, plain, prepare, threads=1)
        first = await stage.submit("block")
        await stage.until(first, lambda program: program.status is Status.RUNNING)
        run_id = await stage.submit("prepare", "queued")
        program = await stage.until(run_id, lambda program: program.step == 1)
        assert (program.status, program.claimed_by) == (Status.PENDING, None)
        # another worker has threads of its own
        await stage.hire(plain, threads=1)
        await stage.finished(run_id)
        assert await stage.outcomes(run_id) == ["done", "done"]


async def test_program_keeps_its_thread_for_its_next_step(stage: Stage) -> None:
    """Whoever holds the only thread needs no second one."""
    await stage.hire(plain, threads=1)
    run_ids = [await stage.submit("queued", "queued", "queued") for _ in range(2)]
    await stage.all_finished(run_ids)
    for run_id in run_ids:
        assert len({each.worker for each in await stage.attempts(run_id)}) == 1
        # submitted, claimed once, and three steps
        assert (await stage.program(run_id)).version == 5
