"""Jobs that write down when they begin and end, for a checker that trusts nothing else.

A line is `run_id step attempt worker what moment`; the moment is this machine's monotonic clock.
It is appended in one write and forced to the disk before the job goes on.
"""

import asyncio
import os
import random
import time

from program_executor import JobContext, ThreadJobContext, job

SHORTEST_S, LONGEST_S = 0.05, 0.5


def write(ctx: JobContext | ThreadJobContext, what: str) -> None:
    """Append a line to the journal."""
    worker = os.environ["PROGRAM_EXECUTOR_WORKER_NAME"]
    line = f"{ctx.run_id} {ctx.step} {ctx.attempt} {worker} {what} {time.monotonic():.6f}\n"
    file = os.open(os.environ["TEST_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


def seconds_of(ctx: JobContext | ThreadJobContext) -> float:
    """Return how long a step takes: as the program says, or 50-500 ms, the same at each try."""
    given = ctx.program_data.get("seconds")
    if isinstance(given, list):
        return float(given[ctx.step])
    if given is not None:
        return float(given)
    draw = random.Random(f"{ctx.run_id} {ctx.step}")
    return draw.uniform(SHORTEST_S, LONGEST_S)


async def run(ctx: JobContext) -> dict[str, int]:
    """Write, wait, write."""
    write(ctx, "begin")
    try:
        await asyncio.sleep(seconds_of(ctx))
    except asyncio.CancelledError:
        write(ctx, "stopped")
        raise
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}


@job
async def tick(ctx: JobContext) -> dict[str, int]:
    """Run in the default queue."""
    return await run(ctx)


@job
def tock(ctx: ThreadJobContext) -> dict[str, int]:
    """Run in a thread, deaf to whoever wants to stop it."""
    write(ctx, "begin")
    time.sleep(seconds_of(ctx))
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}


@job
async def block(ctx: JobContext) -> dict[str, int]:
    """Block the event loop of its worker."""
    write(ctx, "begin")
    time.sleep(seconds_of(ctx))  # noqa: ASYNC251 - what a careless job does
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}
