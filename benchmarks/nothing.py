"""Nothing: three jobs that do nothing, but for the first call, which says when it was."""

import os
from pathlib import Path

from program_executor import JobContext, job

JOURNAL = "BENCH_JOURNAL"
NAMES = ("nothing_a", "nothing_b", "nothing_c")

_has_begun = False


@job(NAMES[0])
async def begin(_ctx: JobContext) -> None:
    """Do nothing, and leave a mark the first time."""
    global _has_begun  # noqa: PLW0603 - one comparison is all that a step pays for it
    if not _has_begun:
        _has_begun = True
        Path(os.environ[JOURNAL]).write_text("a")


@job(NAMES[1])
async def go_on(_ctx: JobContext) -> None:
    """Do nothing."""


@job(NAMES[2])
async def end(_ctx: JobContext) -> None:
    """Do nothing."""
