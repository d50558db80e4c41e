"""Shared: a reading that all who ask for it share, so that many requests cost no more than one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Something that is read by one at a time, and not more often than every `rest_s` seconds."""

    def __init__(
        self, read: Callable[[], Awaitable[T]], *, keep_s: float, rest_s: float = 0.0
    ) -> None:
        """Take how it is read, and for how long it is good; nothing is read yet."""
        self._read = read
        self._keep_s = keep_s
        self._rest_s = rest_s
        self._reading = asyncio.Lock()
        self._value: T | None = None
        self._failure: Exception | None = None
        self._began_at = float("-inf")
        """When the last reading began that has ended, well or not."""
        self._good_until = float("-inf")

    async def recent(self, is_enough: Callable[[T], bool] = lambda _: True) -> T:
        """Return what was read at most `keep_s` ago; read again if it is older, or not enough."""
        if time.monotonic() < self._good_until:
            assert self._value is not None
            if is_enough(self._value):
                return self._value
        return await self.newer()

    async def newer(self) -> T:
        """Wait for a reading that began after this call; all who wait share it, also its failure.

        One of them reads. If that one gives up, the next one does.
        """
        asked_at = time.monotonic()
        async with self._reading:
            if self._began_at < asked_at:
                # 0, too: all who ask in this turn of the event loop share the reading
                await asyncio.sleep(max(0.0, self._began_at + self._rest_s - time.monotonic()))
                await self._read_once()
            if self._failure is not None:
                # else its traceback would grow with each who raises it
                raise self._failure.with_traceback(None)
            assert self._value is not None
            return self._value

    async def _read_once(self) -> None:
        began_at, self._failure = time.monotonic(), None
        try:
            self._value = await self._read()
        except Exception as error:  # noqa: BLE001 - it is raised for each who waits
            self._failure = error
        else:
            self._good_until = began_at + self._keep_s
        self._began_at = began_at
