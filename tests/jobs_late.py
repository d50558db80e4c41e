"""A job that only newer workers know, in the queue that older ones serve too."""

import asyncio

from jobs_file import run, seconds_of
from program_executor import JobContext, job


@job
async def late(ctx: JobContext) -> dict[str, int]:
    """Run in the default queue."""
    return await run(ctx, asyncio.sleep(seconds_of(ctx)))
