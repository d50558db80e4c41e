"""Waiting: one query for all who wait for a change of a program, and whose turn it is."""

import asyncio
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.reading import Standing, standings
from program_service.logs import log
from program_service.loops.turns import is_set_within
from program_service.telemetry import Event

FIRST_LOOK_S, LONGEST_PAUSE_S = 0.004, 0.05
"""Most programs that somebody waits for end soon; who has waited long can wait a little more."""

REST_S, LONGEST_REST_S = 0.0005, 0.02
"""The pause after a look, for each who waits: the more there are, the more share one look."""

AWAY_PAUSE_S = 1.0

PATIENCE = 0.15
"""The pause between two looks, as a part of how long somebody has waited: what answers add."""


class Watch:
    """Somebody who waits for a program to change, or for its end."""

    def __init__(self, run_id: str, version: int | None, now: float) -> None:
        """Wait from now on for a version above this one, or, without one, for the end."""
        self.run_id = run_id
        self._version = version
        self.changed = asyncio.Event()
        self._since = now

    def see(self, standing: Standing | None) -> None:
        """Notice how far the program has come."""
        # a program that is gone has changed too: whoever waits finds out by reading it
        if standing is None or (
            standing.has_ended if self._version is None else standing.version > self._version
        ):
            self.changed.set()

    def look_after(self, now: float) -> float:
        """Return when to look next."""
        pause_s = PATIENCE * (now - self._since)
        return now + min(LONGEST_PAUSE_S, max(FIRST_LOOK_S, pause_s))


class WaitingRoom:
    """Where requests wait until a program changes."""

    name = "waiting"

    def __init__(self, database: Database) -> None:
        """Begin with nobody waiting."""
        self._database = database
        self._looks: list[tuple[float, int, Watch]] = []
        """A heap: when to look for whom; the number keeps two of one moment apart."""
        self._numbers = count()
        self._arrived = asyncio.Event()
        self.is_closed = False

    def close(self) -> None:
        """Have nobody wait any more, as the process ends: what is known by now is the answer."""
        self.is_closed = True
        for _, _, watch in self._looks:
            watch.changed.set()

    async def wait(self, run_id: str, *, timeout_s: float, beyond: int | None = None) -> bool:
        """Wait until a program has ended, or has a version `beyond` this; say whether in time."""
        now = asyncio.get_running_loop().time()
        watch = Watch(run_id, beyond, now)
        self._put(watch, now)
        self._arrived.set()
        try:
            async with asyncio.timeout(timeout_s):
                await watch.changed.wait()
        except TimeoutError:
            return False
        finally:
            watch.changed.set()  # nobody waits any more: it is not looked for again
        return True

    async def run(self) -> None:
        """Look for changes for ever, while somebody waits."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._until_next()
            watches = self._due(clock())
            try:
                await self._look(watches)
            except DatabaseUnavailable as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="wait", error_message=str(error))
                await asyncio.sleep(AWAY_PAUSE_S)
            for watch in watches:
                self._put(watch, clock())
            await asyncio.sleep(min(LONGEST_REST_S, REST_S * len(self._looks)))

    async def _until_next(self) -> None:
        """Wait until it is time to look for somebody, or somebody comes."""
        self._arrived.clear()
        if not self._looks:
            await self._arrived.wait()
        now = asyncio.get_running_loop().time()
        await is_set_within(self._arrived, self._looks[0][0] - now)

    async def _look(self, watches: Sequence[Watch]) -> None:
        if not watches:
            return
        found = await self._database.read(standings, list({watch.run_id for watch in watches}))
        for watch in watches:
            watch.see(found.get(watch.run_id))

    def _due(self, now: float) -> list[Watch]:
        """Take out whom to look for now."""
        watches = []
        while self._looks and self._looks[0][0] <= now:
            watches.append(heappop(self._looks)[-1])
        return [watch for watch in watches if not watch.changed.is_set()]

    def _put(self, watch: Watch, now: float) -> None:
        if self.is_closed:
            watch.changed.set()
        if not watch.changed.is_set():
            heappush(self._looks, (watch.look_after(now), next(self._numbers), watch))
