"""Time of plain jobs: it begins with the function, and stands still while it waits for a thread."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from program_executor import Job, JobContext, ThreadJobContext
from program_service.bookkeeping.lifecycle import Done, LetGo, RetryLater
from program_service.bookkeeping.step_transaction import StepTransaction
from program_workers.classes import InThread
from program_workers.context import Step
from program_workers.inprocess import InProcessJobs
from program_workers.lease import Held, StopReason
from rooms import a_program

NOBODY = cast("Any", None)


class OneThread:
    """An executor whose one thread is busy until it is let go."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1)
        self.freed = threading.Event()
        self.threads.submit(self.freed.wait, 60)


@pytest.fixture
def busy() -> Iterator[OneThread]:
    """Keep the only thread busy."""
    one = OneThread()
    yield one
    one.freed.set()
    one.threads.shutdown()


def a_step() -> Step:
    """Return a step of a program that is held."""
    program = a_program("run-1", "charge")
    held = Held(program, time.monotonic() + 60)
    return Step(program, held, NOBODY, StepTransaction(NOBODY, program))


def has_begun(step: Step) -> bool:
    """Say whether the function was called."""
    return step.began is not None


async def test_time_limit_begins_with_the_function(busy: OneThread) -> None:
    def charge(_ctx: ThreadJobContext) -> None:
        pass

    step = a_step()
    job = Job("charge", charge, timeout_s=0.05)
    running = asyncio.create_task(InProcessJobs(busy.threads).run(job, step))
    await asyncio.sleep(0.2)
    assert not has_begun(step)
    freed_at = time.monotonic()
    busy.freed.set()
    assert await running == Done()
    assert step.began is not None
    assert step.began >= freed_at


async def test_function_that_has_begun_has_its_whole_time_and_no_more(busy: OneThread) -> None:
    ended = threading.Event()

    def charge(ctx: ThreadJobContext) -> None:
        while not ctx.cancelled:
            time.sleep(0.01)
        ended.set()

    job = Job("charge", charge, timeout_s=0.05)
    running = asyncio.create_task(InProcessJobs(busy.threads).run(job, a_step()))
    await asyncio.sleep(0.1)
    busy.freed.set()
    assert isinstance(await running, RetryLater)
    assert ended.is_set()


async def test_second_part_of_a_job_has_what_the_first_left_of_its_time(busy: OneThread) -> None:
    """The first runs in the event loop, and the second waits for a thread."""

    async def charge(_ctx: JobContext) -> InThread:
        await asyncio.sleep(0.02)
        return InThread(lambda _ctx: {"seat": 12})

    step = a_step()
    job = Job("charge", charge, timeout_s=1.0)
    running = asyncio.create_task(InProcessJobs(busy.threads).run(job, step))
    await asyncio.sleep(0.1)
    began = step.began
    assert began is not None
    busy.freed.set()
    assert await running == Done({"seat": 12})
    assert step.began == began


@pytest.mark.parametrize("timeout_s", [None, 0.05])
async def test_step_that_is_stopped_while_it_waits_for_a_thread_never_begins(
    busy: OneThread, timeout_s: float | None
) -> None:
    ran: list[str] = []

    def charge(ctx: ThreadJobContext) -> None:
        ran.append(ctx.run_id)

    step = a_step()
    job = Job("charge", charge, timeout_s=timeout_s)
    running = asyncio.create_task(InProcessJobs(busy.threads).run(job, step))
    await asyncio.sleep(0.1)
    step.held.stop(StopReason.CANCELLED)
    assert await running == LetGo()
    busy.freed.set()
    busy.threads.shutdown()
    assert (ran, step.began) == ([], None)
