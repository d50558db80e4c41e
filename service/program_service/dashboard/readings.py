"""Readings: what many viewers look at is read once for all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

FRESH_S = 1.0
MOST = 200
"""Readings that are kept; filters of lists make many."""


class Readings:
    """Keep each reading for a second, and let all who want it meanwhile share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: dict[str, tuple[float, asyncio.Future[Any]]] = {}

    async def share(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` answered to somebody less than a second ago, or does now."""
        now = time.monotonic()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] > FRESH_S:
            self._drop_old(now)
            kept = now, asyncio.ensure_future(read())
            self._kept[name] = kept
        # whoever goes away does not take the reading with him
        return cast("T", await asyncio.shield(kept[1]))

    def forget(self) -> None:
        """Share nothing that was read before now: something has changed since."""
        self._kept.clear()

    def _drop_old(self, now: float) -> None:
        if len(self._kept) >= MOST:
            self._kept = {
                name: kept for name, kept in self._kept.items() if now - kept[0] <= FRESH_S
            }
