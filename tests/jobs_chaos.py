"""Jobs of the storm: quick and slow ones, in the loop and in threads, and one that stumbles once.

They write the journal as `jobs_file` does. Beside it, in a file of its own, each beginning notes
how far the wall clock is from the monotonic one, so that a stepped clock can be seen.
"""

import asyncio
import os
import random
import time

from jobs_file import run, write
from program_executor import JobContext, Retry, RetryableError, ThreadJobContext, job

SHORTEST_S, LONGEST_S = 0.1, 2.0
LASTING_S = 8.0
CLOCKS = ".clocks"
SOON = Retry(initial_s=0.3, factor=1.5, max_s=1.0)


def note_clock() -> None:
    """Append `worker distance`: the wall clock less the monotonic one, in seconds."""
    worker = os.environ["PROGRAM_EXECUTOR_WORKER_NAME"]
    with open(os.environ["TEST_JOURNAL"] + CLOCKS, "a") as clocks:  # noqa: PTH123 - appended whole
        clocks.write(f"{worker} {time.time() - time.monotonic():.3f}\n")


def pause_of(ctx: JobContext | ThreadJobContext) -> float:
    """Return how long a step takes, the same at each try."""
    return random.Random(f"{ctx.run_id} {ctx.step}").uniform(SHORTEST_S, LONGEST_S)


@job(retry=SOON)
async def quick(ctx: JobContext) -> dict[str, int]:
    """Take no time."""
    note_clock()
    return await run(ctx, asyncio.sleep(0))


@job(retry=SOON)
async def slow(ctx: JobContext) -> dict[str, int]:
    """Take a while, and change the job's data meanwhile."""
    note_clock()

    async def work() -> None:
        await asyncio.sleep(pause_of(ctx) / 2)
        await ctx.job_data.merge({"halfway": ctx.attempt})
        await asyncio.sleep(pause_of(ctx) / 2)

    return await run(ctx, work())


@job(retry=SOON)
def heavy(ctx: ThreadJobContext) -> dict[str, int]:
    """Take a while in a thread, deaf to whoever wants to stop it."""
    note_clock()
    write(ctx, "begin")
    time.sleep(pause_of(ctx))
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}


@job(retry=SOON)
async def stumble(ctx: JobContext) -> dict[str, int]:
    """Fail at the first try."""
    if ctx.attempt > 1:
        return await run(ctx, asyncio.sleep(0.1))
    await asyncio.to_thread(write, ctx, "begin")
    await asyncio.to_thread(write, ctx, "raised")
    raise RetryableError


@job(queue="far", retry=SOON)
async def far(ctx: JobContext) -> dict[str, int]:
    """Run where not every worker serves the queue, so that programs change hands."""
    note_clock()
    return await run(ctx, asyncio.sleep(0.2))


@job(retry=SOON)
async def lasting(ctx: JobContext) -> dict[str, int]:
    """Take longer than a lease, which must be renewed meanwhile."""
    note_clock()
    return await run(ctx, asyncio.sleep(LASTING_S))


class Bug:
    """In place of a step's lines: it fails when the worker ends them."""

    def __init__(self) -> None:
        """Fail once."""
        self._has_failed = False

    def end(self) -> None:
        """Fail."""
        if not self._has_failed:
            self._has_failed = True
            message = "this bug is played by a job of the tests"
            raise AttributeError(message)


@job(retry=SOON)
async def uncanny(ctx: JobContext) -> None:
    """Return as if all were well, and have the worker meet a bug right after."""
    ctx._step.held.lines = Bug()  # type: ignore[assignment]
