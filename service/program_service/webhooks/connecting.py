"""Connecting: to addresses that were checked, and to no others."""

import asyncio
import ipaddress
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

import httpcore

from program_service.webhooks.errors import BrokenAnswer, Forbidden, NoConnection
from program_service.webhooks.guard import Address, Guard, Target
from program_service.webhooks.racing import Race, interleaved
from program_service.webhooks.resolving import Resolver
from program_service.webhooks.streams import Stream, Wire, words_of

LIMIT_BYTES = 1_048_576
MAX_HEAD_BYTES = 262_144
"""Of interim answers and headers: a megabyte of interim answers is a second's work."""
MAX_RECEIVED_BYTES = 2 * LIMIT_BYTES
"""Of one answer with all its framing: headers, and the sizes of chunks."""


@dataclass(slots=True)
class Exchange:
    """One call and its answer, on a connection that may have had others."""

    target: Target
    has_connected: bool = False
    """Whether the host let us connect, and TLS was agreed on."""
    has_head: bool = False
    """Whether the status and the headers of the answer have come."""
    received_bytes: int = 0

    def receive(self, count: int) -> None:
        """Count bytes of the answer.

        Raises:
            BrokenAnswer: there are too many.
        """
        self.received_bytes += count
        most = MAX_RECEIVED_BYTES if self.has_head else MAX_HEAD_BYTES
        if self.received_bytes > most:
            what = "answer with its framing" if self.has_head else "head of the answer"
            msg = f"the {what} is longer than {most} bytes"
            raise BrokenAnswer(msg)


exchange: ContextVar[Exchange] = ContextVar("exchange")
"""The exchange of the current task."""


class ExchangeStream(Stream):
    """A stream that counts for the current exchange."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read.

        Raises:
            BrokenAnswer: the answer is too long.
        """
        data = await super().read(max_bytes, timeout)
        exchange.get().receive(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write: what is written over is connected."""
        exchange.get().has_connected = True
        await super().write(buffer, timeout)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, guard: Guard, resolver: Resolver) -> None:
        """Take the rules, and who resolves names."""
        self._guard = guard
        self._resolver = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that lets us, if all of them may be called.

        Raises:
            Forbidden: one of them may not.
            NoConnection: none of them answers.
        """
        del local_address, socket_options
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(exchange.get().target, port)
        except TimeoutError as error:
            msg = f"{host} does not let us connect within {timeout:g} s"
            raise NoConnection(msg) from error

    async def _connect(self, target: Target, port: int) -> ExchangeStream:
        addresses = await self._addresses(target, port)
        for address in addresses:
            self._guard.check_address(address, target)

        async def connect(address: Address) -> Wire:
            return await self._open(address, port, target)

        race = Race(connect)
        wire = await race.run(interleaved(addresses))
        if wire is not None:
            return ExchangeStream(wire)
        for problem in race.problems:
            if isinstance(problem, Forbidden):
                raise problem
        said = "; ".join(dict.fromkeys(map(words_of, race.problems))) or "it has no address"
        msg = f"{target.host} does not let us connect: {said}"
        raise NoConnection(msg)

    async def _addresses(self, target: Target, port: int) -> list[Address]:
        if target.address is not None:
            return [target.address]
        try:
            return await self._resolver(target.host, port)
        except OSError as error:
            msg = f"{target.host} has no address: {error}"
            raise NoConnection(msg) from error

    async def _open(self, address: Address, port: int, target: Target) -> Wire:
        """Connect to an address, and check who is at the other end.

        Raises:
            OSError: it does not let us.
            Forbidden: somebody else is there.
        """
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, str(address), port)
        peer = wire.transport.get_extra_info("peername")
        if peer is None:
            wire.abort()
            msg = f"{target.host} broke the connection as soon as it stood"
            raise NoConnection(msg)
        try:
            self._guard.check_address(ipaddress.ip_address(str(peer[0])), target)
        except Forbidden:
            wire.abort()
            raise
        return wire

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nothing is called by a path.

        Raises:
            NoConnection: always.
        """
        del path, timeout, socket_options
        msg = "files are not called"
        raise NoConnection(msg)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
