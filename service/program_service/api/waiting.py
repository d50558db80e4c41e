"""Waiting: one query for all who wait for a change of a program."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.reading import versions
from program_service.telemetry import Event

log = structlog.get_logger()

LOOK_EVERY_S = 0.05
"""How often the table is looked at while somebody waits: the latency of an answer."""


class Watch:
    """Somebody who waits for a program to change."""

    def __init__(self, version: int) -> None:
        """Wait for a version above this one."""
        self.version = version
        self.changed = asyncio.Event()


class WaitingRoom:
    """Where requests wait until a program changes."""

    def __init__(self, database: Database) -> None:
        """Begin with nobody waiting."""
        self._database = database
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._somebody = asyncio.Event()

    async def wait(self, run_id: str, *, version: int, timeout_s: float) -> bool:
        """Wait until the program has a version above this one; say whether it has in time."""
        with self._watching(run_id, version) as watch:
            try:
                async with asyncio.timeout(timeout_s):
                    await watch.changed.wait()
            except TimeoutError:
                return False
        return True

    async def run(self) -> None:
        """Look for changes for ever, while somebody waits."""
        while True:
            await self._somebody.wait()
            try:
                await self._look()
            except DatabaseUnavailable as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="wait", error_message=str(error))
                await asyncio.sleep(1.0)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        found = await self._database.read(versions, list(self._watches))
        for run_id, watches in self._watches.items():
            for watch in watches:
                # a program that is gone has changed too: whoever waits finds out by reading it
                if run_id not in found or found[run_id] > watch.version:
                    watch.changed.set()

    @contextmanager
    def _watching(self, run_id: str, version: int) -> Iterator[Watch]:
        watch = Watch(version)
        self._watches[run_id].add(watch)
        self._somebody.set()
        try:
            yield watch
        finally:
            self._watches[run_id].discard(watch)
            if not self._watches[run_id]:
                del self._watches[run_id]
            if not self._watches:
                self._somebody.clear()
