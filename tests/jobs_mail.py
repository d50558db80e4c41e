"""Jobs of another team: in a queue of their own, known to their own workers alone."""

from jobs_file import run
from program_executor import JobContext, job


@job(queue="mail")
async def mail(ctx: JobContext) -> dict[str, int]:
    """Run in the queue of mails."""
    return await run(ctx)
