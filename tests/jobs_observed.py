"""Jobs that come to every end that is counted."""

from program_executor import (
    IgnorableError,
    JobContext,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
)


@job(retry=Retry(initial_s=0.01, jitter="none"))
async def flaky(ctx: JobContext) -> None:
    """Fail once."""
    if ctx.attempt == 1:
        raise RetryableError("the bank is closed", code="closed")


@job
def broken(ctx: ThreadJobContext) -> None:
    """Fail."""
    raise LookupError(ctx.run_id)


@job
async def ignorable(ctx: JobContext) -> None:
    """Fail in a way that nobody minds."""
    raise IgnorableError(ctx.run_id)


@job
async def parent(ctx: JobContext) -> None:
    """Start another program."""
    await ctx.start_program(["flaky"])
