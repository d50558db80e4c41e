"""Strays: drivers that reject pending calls with a `CancelledError`, though nobody cancelled them.

aiormq does so when another user of its connection abandons it, or its heartbeat does.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

LOOK_EVERY_S = 0.2

_FILE, _MET = os.environ["STORM_STRAYS"], os.environ["STORM_STRAYS_MET"]


class _Left:
    """How many calls are still to be rejected, read again and again."""

    is_installed = False
    looked_at = float("-inf")
    allowed = 0
    used = 0

    @classmethod
    def take(cls) -> bool:
        if time.monotonic() - cls.looked_at > LOOK_EVERY_S:
            cls.looked_at = time.monotonic()
            with open(_FILE) as file:  # noqa: PTH123 - nothing is imported here that need not be
                cls.allowed = int(file.read() or cls.allowed)
            if not cls.allowed:
                cls.used = 0
        if cls.used >= cls.allowed:
            return False
        cls.used += 1
        with open(_MET, "a") as met:  # noqa: PTH123 - appended whole
            met.write("one\n")
        return True


def _rejecting(call: Callable[..., Any]) -> Callable[..., Any]:
    async def reject_or_call(*arguments: Any, **options: Any) -> Any:
        result = await call(*arguments, **options)
        if _Left.take():
            raise asyncio.CancelledError
        return result

    return reject_or_call


def install() -> None:
    """Change the drivers; they are imported with this, so not before a process runs its loop."""
    import aiormq.channel  # noqa: PLC0415
    import asyncpg.prepared_stmt  # noqa: PLC0415

    for kind, names in (
        (aiormq.channel.Channel, ("rpc", "basic_publish")),
        (asyncpg.prepared_stmt.PreparedStatement, ("fetch",)),
    ):
        for name in names:
            setattr(kind, name, _rejecting(getattr(kind, name)))


def when_a_loop_runs() -> None:
    """Install when the process runs its event loop, be it asyncio's or uvloop's."""
    run = asyncio.Runner.run

    def install_and_run(runner: asyncio.Runner, *arguments: Any, **options: Any) -> Any:
        if not _Left.is_installed:
            _Left.is_installed = True
            install()
        return run(runner, *arguments, **options)

    asyncio.Runner.run = install_and_run  # type: ignore[method-assign, assignment]
