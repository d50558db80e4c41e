"""Pacing: loops that look again and again, until something happens or for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from program_service.logs import log
from program_service.telemetry import Event


async def turn_for_ever(
    loop: str, turn: Callable[[], Awaitable[None]], *, every_s: float
) -> NoReturn:
    """Take turns with pauses between; one that fails is told of, and followed by the next."""
    while True:
        try:
            await turn()
        except Exception as error:  # noqa: BLE001 - one turn of a loop
            log.warning(Event.LOOP_FAILED, loop=loop, error_message=str(error))
        await asyncio.sleep(every_s)


async def first_set(*events: asyncio.Event) -> None:
    """Wait until one of these events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so long at most, and say whether it has come."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
