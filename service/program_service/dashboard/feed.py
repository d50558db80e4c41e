"""Feed: notice that something has changed, by one look for all open pages, while there are any."""

import asyncio
from collections.abc import AsyncIterator, Callable

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.measuring import Pulse, pulse
from program_service.loops.turns import turn

LOOK_EVERY_S = 1.0


class Feed:
    """Whoever watches hears of every change; what comes within a second is one change."""

    name = "feed"

    def __init__(self, database: Database, on_change: Callable[[], None]) -> None:
        """Begin with nobody watching; `on_change` is called before those who watch hear of it."""
        self._database = database
        self._on_change = on_change
        self._watching = 0
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._last: Pulse | None = None
        self._is_closed = False

    def close(self) -> None:
        """Have nobody watch any more, as the process ends."""
        self._is_closed = True
        self._changed.set()

    async def changes(self) -> AsyncIterator[None]:
        """Yield after each change, until this process ends."""
        self._watching += 1
        self._arrived.set()
        try:
            while not self._is_closed:
                await self._changed.wait()
                if not self._is_closed:
                    yield
        finally:
            self._watching -= 1

    async def run(self) -> None:
        """Look for changes until cancelled, while somebody watches."""
        while True:
            if not self._watching:
                self._arrived.clear()
                await self._arrived.wait()
            async with turn():
                await self._look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        now = await self._database.read(pulse)
        if now != self._last:
            self._last = now
            self._on_change()
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
