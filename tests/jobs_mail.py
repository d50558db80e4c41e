"""Jobs of another team: in a queue of their own, known to their own workers alone."""

import asyncio

from jobs_file import run, seconds_of
from program_executor import JobContext, job


@job(queue="mail")
async def mail(ctx: JobContext) -> dict[str, int]:
    """Run in the queue of mails."""
    return await run(ctx, asyncio.sleep(seconds_of(ctx)))
