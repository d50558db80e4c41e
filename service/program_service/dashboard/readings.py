"""Readings: what many viewers look at is read once for all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from program_service.bookkeeping.errors import BookkeepingError

T = TypeVar("T")

FRESH_S = 1.0
MOST = 200
"""Readings that are kept; filters of lists make many."""


class Readings:
    """Keep each reading for a second, and let all who want it meanwhile share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: dict[str, SharedRead] = {}

    async def share(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returned to somebody less than a second ago, or returns now."""
        kept = self._kept.get(name)
        if kept is None or kept.is_old:
            self._drop_old()
            kept = self._kept[name] = SharedRead()
        return cast("T", await kept.result_of(read))

    def forget(self) -> None:
        """Share nothing that was read before now: something has changed since."""
        self._kept.clear()

    def _drop_old(self) -> None:
        if len(self._kept) >= MOST:
            self._kept = {name: each for name, each in self._kept.items() if not each.is_old}


class SharedRead:
    """What one viewer reads, and all others wait for."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()
        self._lock = asyncio.Lock()
        self._result: Any = None
        self._problem: Exception | None = None
        self._is_done = False

    @property
    def is_old(self) -> bool:
        """Whether it was begun so long ago that it is not shared any more."""
        return time.monotonic() - self._began > FRESH_S

    async def result_of(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """Read, or return what somebody else has read; if that one went away, the next one reads.

        Raises:
            BookkeepingError: it could not be read.
        """
        async with self._lock:
            if not self._is_done:
                try:
                    self._result = await read()
                except (BookkeepingError, OSError) as problem:
                    self._problem = problem
                self._is_done = True
        if self._problem is not None:
            raise self._problem
        return self._result
