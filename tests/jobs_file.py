"""Jobs that write down when they begin and end, for a checker that trusts nothing else.

A line is `run_id step attempt worker what moment`; the moment is this machine's monotonic clock.
It is appended in one write and forced to the disk before the job goes on.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable
from pathlib import Path

import sqlalchemy as sa

from program_executor import JobContext, ThreadJobContext, job

SHORTEST_S, LONGEST_S = 0.05, 0.5
LOOK_EVERY_S = 0.02


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
    if given is not None:
        return float(given)
    return random.Random(f"{ctx.run_id} {ctx.step}").uniform(SHORTEST_S, LONGEST_S)


async def run(ctx: JobContext, work: Awaitable[None]) -> dict[str, int]:
    """Write, work, write; in a thread, for the disk must not hold up the other jobs."""
    await asyncio.to_thread(write, ctx, "begin")
    try:
        await work
    except asyncio.CancelledError:
        write(ctx, "stopped")
        raise
    await asyncio.to_thread(write, ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}


async def gate_is_open(ctx: JobContext) -> None:
    """Wait until there is a file of the name that the program gives."""
    gate = Path(ctx.program_data["gate"])
    while not gate.exists():
        await asyncio.sleep(LOOK_EVERY_S)


@job
async def tick(ctx: JobContext) -> dict[str, int]:
    """Take a while."""
    return await run(ctx, asyncio.sleep(seconds_of(ctx)))


@job
async def wait(ctx: JobContext) -> dict[str, int]:
    """Wait for a file."""
    return await run(ctx, gate_is_open(ctx))


@job
def tock(ctx: ThreadJobContext) -> dict[str, int]:
    """Take a while in a thread, deaf to whoever wants to stop it."""
    write(ctx, "begin")
    time.sleep(seconds_of(ctx))
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}


@job
async def count(ctx: JobContext) -> dict[str, int]:
    """Add 1 to a row of the user's own, exactly once."""

    async def add() -> None:
        await asyncio.sleep(seconds_of(ctx))
        session = await ctx.transaction()
        await session.execute(sa.text("UPDATE counter SET number = number + 1"))

    return await run(ctx, add())


@job
async def block(ctx: JobContext) -> dict[str, int]:
    """Block the event loop of its worker, at the first try; for a while, or until a gate opens."""
    write(ctx, "begin")
    gate = ctx.program_data.get("gate")
    if ctx.attempt == 1 and gate is None:
        time.sleep(seconds_of(ctx))  # what a careless job does
    while ctx.attempt == 1 and gate and not os.access(gate, os.F_OK):
        time.sleep(1)  # just as careless
    write(ctx, "end")
    return {f"attempt_of_{ctx.step}": ctx.attempt}
