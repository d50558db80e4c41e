"""Waiting: one query for all who wait for a change of a program, when it is time to look again."""

import asyncio
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from math import ceil

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.reading import Standing, standings
from program_service.logs import log
from program_service.loops.turns import is_set_within, turn
from program_service.telemetry import Event

FIRST_LOOK_S = 0.004
"""Most programs that somebody waits for end soon."""

PATIENCE, LONGEST_BRISK_PAUSE_S = 0.15, 0.05
"""The pause between two looks is a part of the time since the last change: what waiting adds."""

LONG_PATIENCE, LONGEST_PAUSE_S = 0.02, 1.0
"""From 2.5 s without a change on, up to 50 s."""

GRID_S = 0.25
"""Long pauses end at multiples of it, so that many who wait share a look."""

REST_S, LONGEST_REST_S = 0.0005, 0.02
"""The pause after a look, for each who waits: the more there are, the more share one look."""

MOST_FAILURES = 3
"""Looks for one program that fail in a row; then the one who waits reads it, and gets the error."""


class Watch:
    """A wait for a program to change, or to end."""

    def __init__(self, run_id: str, version: int | None, now: float) -> None:
        """Wait from now on for a version above this one, or, without one, for the end."""
        self.run_id = run_id
        self.changed = asyncio.Event()
        self._beyond = version
        self._seen = version
        self._moved_at = now
        """When it last changed, or will probably change next."""
        self._failures = 0

    def see(self, standing: Standing | None, now: float) -> None:
        """Notice how far the program has come."""
        self._failures = 0
        # a program that is gone has changed too: reading it tells
        if standing is None or (
            standing.has_ended if self._beyond is None else standing.version > self._beyond
        ):
            self.changed.set()
        elif standing.due_in_s > 0:
            self._moved_at = now + standing.due_in_s
        elif standing.version != self._seen:
            self._seen, self._moved_at = standing.version, now

    def fail(self, error: Exception) -> None:
        """Notice that the program cannot be looked for."""
        if self._failures == 0:
            log.warning(Event.LOOK_FAILED, run_id=self.run_id, error_message=str(error))
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self.changed.set()

    def look_after(self, now: float) -> float:
        """Return when to look next."""
        since_s = now - self._moved_at
        if self._failures:
            pause_s = LONGEST_PAUSE_S
        elif since_s < 0:
            pause_s = -since_s
        else:
            pause_s = max(min(LONGEST_BRISK_PAUSE_S, PATIENCE * since_s), LONG_PATIENCE * since_s)
        pause_s = min(LONGEST_PAUSE_S, max(FIRST_LOOK_S, pause_s))
        # but what is due sooner is looked for then
        is_on_grid = pause_s > GRID_S and pause_s != -since_s
        return ceil((now + pause_s) / GRID_S) * GRID_S if is_on_grid else now + pause_s


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
        """Look for changes until cancelled, while somebody waits."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._until_next()
            watches = self._due(clock())
            try:
                async with turn():
                    await self._look(watches)
            finally:  # whatever happened, they are looked for again
                for watch in watches:
                    self._put(watch, clock())
            await asyncio.sleep(min(LONGEST_REST_S, REST_S * len(self._looks)))

    async def _until_next(self) -> None:
        """Wait until it is time to look for somebody, or somebody comes."""
        self._arrived.clear()
        while not self._looks:
            await self._arrived.wait()
            self._arrived.clear()
        now = asyncio.get_running_loop().time()
        await is_set_within(self._arrived, self._looks[0][0] - now)

    async def _look(self, watches: Sequence[Watch]) -> None:
        """Look for programs, or, if that fails, for each by itself.

        Raises:
            DatabaseUnavailable: that is about none of them.
        """
        run_ids = list({watch.run_id for watch in watches})
        if not run_ids:
            return
        try:
            found = await self._database.read(standings, run_ids)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - around everything done for one program
            if len(run_ids) == 1:
                for watch in watches:
                    watch.fail(error)
                return
            for run_id in run_ids:
                await self._look([watch for watch in watches if watch.run_id == run_id])
            return
        now = asyncio.get_running_loop().time()
        for watch in watches:
            watch.see(found.get(watch.run_id), now)

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
