"""Turns: what a loop does again and again, each turn bounded in time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import NoReturn

TURN_WITHIN_S = 60.0
"""How long a turn may take before it counts as hung: above every time limit of the drivers."""

Completed = Callable[[], None]

on_completed: ContextVar[Completed | None] = ContextVar("on_completed", default=None)
"""What the supervisor of the current loop wants to have called after each turn."""


@asynccontextmanager
async def turn(*, within_s: float = TURN_WITHIN_S) -> AsyncGenerator[None]:
    """Bound a turn of a loop, and report that it was completed.

    Raises:
        TimeoutError: it took too long.
    """
    async with asyncio.timeout(within_s):
        yield
    if (completed := on_completed.get()) is not None:
        completed()


async def take_turns(
    work: Callable[[], Awaitable[None]], *, every_s: float, within_s: float = TURN_WITHIN_S
) -> NoReturn:
    """Take turns with pauses between, until one fails.

    Raises:
        TimeoutError: a turn took too long; or whatever else it raises.
    """
    while True:
        async with turn(within_s=within_s):
            await work()
        await asyncio.sleep(every_s)


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for at most this long; return whether it was set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
