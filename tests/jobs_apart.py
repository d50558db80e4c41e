"""Jobs of one queue each: a worker knows only those of the queues that it serves."""

import asyncio
import os

from jobs_file import run, seconds_of
from program_executor import JobContext, job


async def go(ctx: JobContext) -> dict[str, int]:
    """Take a while, and write job data first where the program says so."""
    if ctx.program_data.get("writes"):
        return await run(ctx, write_and_sleep(ctx))
    return await run(ctx, asyncio.sleep(seconds_of(ctx)))


async def write_and_sleep(ctx: JobContext) -> None:
    """Write job data in the middle of a step."""
    await ctx.job_data.merge({"is_half_done": True})
    await asyncio.sleep(seconds_of(ctx))


for queue in os.environ["PROGRAM_EXECUTOR_QUEUES"].split(","):
    globals()[f"go_{queue}"] = job(f"go-{queue}", queue=queue)(go)
