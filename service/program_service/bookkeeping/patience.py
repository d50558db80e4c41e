"""Patience: how long, and how often, something is tried again."""

import asyncio
import time

PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""The pause before a transaction is tried again is doubled each time, up to this."""


class Patience:
    """How long something is tried again, with pauses that grow."""

    def __init__(self, seconds: float, *, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        """Begin now."""
        self._began = time.monotonic()
        self._seconds = seconds
        self._pause_s = PAUSE_S
        self._longest_pause_s = longest_pause_s

    @property
    def spent_s(self) -> float:
        """How long it has been tried."""
        return time.monotonic() - self._began

    async def pause(self) -> bool:
        """Wait before the next try; return False at once if there is to be none."""
        if self.spent_s + self._pause_s >= self._seconds:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._longest_pause_s, self._pause_s * 2)
        return True
