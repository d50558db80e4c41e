"""Recall: claim the programs that wait for room here, as soon as there is some.

Meanwhile other workers are asked, who may have room: the wake-ups of those that wait go back to the
queue, for a few hops (docs/adr/0022).
"""

import asyncio
from typing import NoReturn

from program_service.loops.turns import is_set_within, take_turns
from program_service.wakeups.broker import MAX_BUNDLE, Broker, Wakeup
from program_workers.intake import HOLD_S, Intake, Start
from program_workers.room import Room

LONGEST_REST_S = 1.0
"""How long nothing is looked at when nothing seems to change."""

SLOT_PATIENCE_S = 0.5


class Recall:
    """Serve the line of a worker's intake."""

    name = "recall"

    def __init__(self, intake: Intake, room: Room, broker: Broker, start: Start) -> None:
        """Take whose line it is, what it waits for, where others are asked, and what runs it."""
        self._intake = intake
        self._line = intake.line
        self._slots = intake.slots
        self._changed = room.changed
        self._broker = broker
        self._start = start
        self._is_ending = False

    def finish(self) -> None:
        """Claim nothing more: other workers need not wait for what waits here."""
        self._is_ending = True
        self._changed.set()

    async def run(self) -> None:
        """Claim what waits and finds room, until told to finish; then leave it to other workers."""
        while not self._is_ending:
            await is_set_within(self._changed, min(LONGEST_REST_S, self._line.opens_in_s))
            self._changed.clear()
            while self._line.next(1) and await self._claims_some():
                pass
        if left := self._line.all():
            await self._broker.publish(left)

    async def ask_others(self) -> NoReturn:
        """Ask others about what has waited for a moment."""
        await take_turns(self._ask_others, every_s=HOLD_S)

    async def _ask_others(self) -> None:
        if wakeups := self._line.ask_others():
            await self._broker.publish(wakeups)

    async def _claims_some(self) -> bool:
        """Claim what there is room for, as far as slots are free; say whether any was claimed."""
        if not await self._has_reserved():
            return False
        reserved, wakeups = 1 + self._slots.reserve_more(MAX_BUNDLE - 1), list[Wakeup]()
        try:
            wakeups = self._line.next(reserved)
        finally:
            self._slots.release(reserved - sum(len(wakeup.run_ids) for wakeup in wakeups))
        return any(await asyncio.gather(*map(self._take, wakeups)))

    async def _has_reserved(self) -> bool:
        """Wait for a slot, unless it comes to an end."""
        while not self._is_ending:
            try:
                async with asyncio.timeout(SLOT_PATIENCE_S):
                    await self._slots.reserve()
            except TimeoutError:
                continue
            return True
        return False

    async def _take(self, wakeup: Wakeup) -> bool:
        taken = await self._intake.claim(wakeup, wakeup.run_ids, self._start)
        if taken.rest:
            await self._intake.hand_back(wakeup, tuple(taken.rest), is_fresh=taken.claimed > 0)
        return taken.claimed > 0
