"""Met: what a fault says when it is over: whom it met, and how much; and how it waits for that."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

LOOK_EVERY_S = 0.05
VICTIM_WITHIN_S = 15.0
"""How long a fault waits for a running step, or a message, to hit."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a fault met."""

    names: Iterable[str]
    """The processes that may lose leases by it."""
    effect: int
    """How much it met; 0 proves nothing."""
    programs: Iterable[str] = ()
    """The programs that it may have affected, whoever runs them."""


async def until(look: Callable[[], Awaitable[int]]) -> int:
    """Look until there is something, or the time is over."""
    deadline = time.monotonic() + VICTIM_WITHIN_S
    while not (seen := await look()) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
    return seen
