"""Jobs that kill their worker, each in its own way, beside some that do no harm."""

import asyncio
import os
import signal

from jobs_file import run, seconds_of, write
from program_executor import JobContext, ThreadJobContext, job

MIB = 1024 * 1024


@job
async def tick(ctx: JobContext) -> dict[str, int]:
    """Take a while."""
    return await run(ctx, asyncio.sleep(seconds_of(ctx)))


@job
async def leave(ctx: JobContext) -> None:
    """Exit as a library does that knows better."""
    await asyncio.to_thread(write, ctx, "begin")
    os._exit(1)


@job
def crash(ctx: ThreadJobContext) -> None:
    """Crash the interpreter, as a broken extension does."""
    write(ctx, "begin")
    os.kill(os.getpid(), signal.SIGSEGV)


@job
async def devour(ctx: JobContext) -> None:
    """Take memory until the kernel's killer comes, which is played here by ourselves."""
    await asyncio.to_thread(write, ctx, "begin")
    taken = bytearray(64 * MIB)
    if len(taken) == 64 * MIB:
        os.kill(os.getpid(), signal.SIGKILL)
