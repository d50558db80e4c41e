"""Racing: connect to whichever address of a host answers first (RFC 8305, "Happy Eyeballs").

An address may swallow every packet. Addresses are tried one after the other, a quarter of a second
apart, without waiting for the earlier ones to fail; the first connection wins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Generic, Protocol, TypeVar

from program_service.cancellation import TaskGroup
from program_service.webhooks.errors import CallError
from program_service.webhooks.guard import Address

ATTEMPT_DELAY_S = 0.25
"""The Connection Attempt Delay that RFC 8305 recommends in section 5."""
MAX_ATTEMPTS = 16
"""Addresses of one host that are tried for one call: each is a socket until the first connects."""


class Closable(Protocol):
    """What a connection must be able to do."""

    def abort(self) -> None:
        """Close it at once."""


C = TypeVar("C", bound=Closable)


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """Order addresses by alternating families, beginning with the family of the first one.

    Within a family they keep the resolver's order (RFC 8305, section 4).
    """
    found = list(dict.fromkeys(addresses))
    first = [each for each in found if each.version == found[0].version]
    second = [each for each in found if each.version != found[0].version]
    pairs = chain.from_iterable(zip_longest(first, second))
    return [each for each in pairs if each is not None][:MAX_ATTEMPTS]


class Race(Generic[C]):
    """One race for a connection."""

    def __init__(self, connect: Callable[[Address], Awaitable[C]]) -> None:
        """Connect with this function, which is called once for each address that is tried."""
        self._connect = connect
        self._winner: C | None = None
        self._over = asyncio.Event()
        self.problems: list[Exception] = []

    async def run(self, addresses: Sequence[Address]) -> C | None:
        """Return the first connection, or None when every attempt failed: see `problems`."""
        try:
            async with TaskGroup() as tasks:
                starting = tasks.create_task(self._start(addresses))
                await self._over.wait()
                starting.cancel()
        except BaseException:
            if self._winner is not None:
                self._winner.abort()
            raise
        return self._winner

    async def _start(self, addresses: Sequence[Address]) -> None:
        """Start the attempts; the next one follows a failure at once."""
        async with TaskGroup() as attempts:
            for address in addresses:
                has_failed = asyncio.Event()
                attempts.create_task(self._attempt(address, has_failed))
                with suppress(TimeoutError):
                    async with asyncio.timeout(ATTEMPT_DELAY_S):
                        await has_failed.wait()
        self._over.set()

    async def _attempt(self, address: Address, has_failed: asyncio.Event) -> None:
        try:
            connection = await self._connect(address)
        except (OSError, CallError) as error:
            self.problems.append(error)
            has_failed.set()
            return
        if self._winner is None:
            self._winner = connection
            self._over.set()
        else:
            connection.abort()
