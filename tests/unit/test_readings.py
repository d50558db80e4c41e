"""Readings: what many look at is read once, and never after it has changed."""

import asyncio

from program_service.dashboard.readings import Readings


class Shelf:
    """Something that is read, slowly, and counts how often."""

    def __init__(self) -> None:
        self.times = 0
        self.gate = asyncio.Event()

    async def read(self) -> int:
        self.times += 1
        times = self.times
        await self.gate.wait()
        return times


async def test_all_who_want_a_reading_at_a_time_share_one() -> None:
    readings, shelf = Readings(), Shelf()
    wishes = [asyncio.create_task(readings.share("a", shelf.read)) for _ in range(9)]
    await asyncio.sleep(0)
    shelf.gate.set()
    assert await asyncio.gather(*wishes) == [1] * 9
    assert await readings.share("a", shelf.read) == 1


async def test_another_name_is_another_reading() -> None:
    readings, shelf = Readings(), Shelf()
    shelf.gate.set()
    assert await readings.share("a", shelf.read) == 1
    assert await readings.share("b", shelf.read) == 2


async def test_what_was_begun_before_a_change_is_not_shared_after_it() -> None:
    readings, shelf = Readings(), Shelf()
    before = asyncio.create_task(readings.share("a", shelf.read))
    await asyncio.sleep(0)
    readings.forget()
    after = asyncio.create_task(readings.share("a", shelf.read))
    await asyncio.sleep(0)
    shelf.gate.set()
    assert (await before, await after) == (1, 2)


async def test_next_one_reads_when_the_one_who_reads_goes_away() -> None:
    readings, shelf = Readings(), Shelf()
    hasty = asyncio.create_task(readings.share("a", shelf.read))
    patient = asyncio.create_task(readings.share("a", shelf.read))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.wait([hasty])
    shelf.gate.set()
    assert await patient == 2
