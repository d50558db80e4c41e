"""A TCP proxy between a program and a server: the network on its bad days, switched at any moment.

stall    a firewall forgot the connections: both ends believe in them, and nothing arrives any more
hold     packets are lost for a while: what was sent meanwhile arrives when the network is back
delay    every packet takes its time
cut      all connections are reset
refuse   nobody listens any more, and all connections are reset

`heal` ends stalling, holding and delaying. It counts what it did, so that a test can require that
something happened to its subject at all.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from enum import Enum

from patience import eventually

CHUNK = 65_536


class End(Enum):
    """Whom bytes go to: the program that connected, or the server."""

    CLIENT = "client"
    SERVER = "server"


BOTH = (End.CLIENT, End.SERVER)


class TcpProxy:
    """Connections from a port of our own to a server; at first all passes."""

    def __init__(self, host: str, port: int) -> None:
        """Stand before this server."""
        self.port = 0
        self.accepted = 0
        self.connections_cut = 0
        self.bytes_swallowed = 0
        self.delay_s = 0.0
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._pairs: set[Pair] = set()
        self._stalled: frozenset[End] = frozenset()
        self._passing = asyncio.Event()
        self._passing.set()
        self._stall_after: bytes | None = None
        self._stall_before: bytes | None = None

    async def start(self) -> None:
        """Listen, always on the same port."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def is_empty(self) -> bool:
        """Say whether there is no connection."""
        return not self._pairs

    def stall(self, *towards: End) -> None:
        """Swallow what goes to these ends, or to both, on open and on new connections.

        A connection that was open meanwhile has a gap, and never comes back to life.
        """
        self._stalled = frozenset(towards or BOTH)
        for pair in self._pairs:
            pair.dead |= self._stalled

    def stall_after(self, said: bytes) -> None:
        """Let this still reach the server when somebody says it, and then stall everything."""
        self._stall_after = said

    def stall_before(self, said: bytes) -> None:
        """Stall everything when somebody says this, which does not reach the server any more."""
        self._stall_before = said

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    @property
    def is_stalling(self) -> bool:
        """Whether something is being swallowed."""
        return bool(self._stalled)

    def hold(self) -> None:
        """Keep back all bytes, and the ends of connections too, until the proxy is healed."""
        self._passing.clear()

    def heal(self) -> None:
        """Let everything pass at once, but for the connections that were stalled."""
        self._stall_after = self._stall_before = None
        self._stalled, self.delay_s = frozenset(), 0.0
        self._passing.set()
        for pair in self._pairs:
            if pair.is_half_closed:
                pair.reset()  # as a host answers a packet of a connection that it has ended

    def cut(self) -> None:
        """Reset all connections."""
        for pair in self._pairs:
            pair.reset()
        self.connections_cut += len(self._pairs)

    async def refuse(self) -> None:
        """Listen no more, and reset all connections; `start` listens again."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.cut()
        self._passing.set()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            answers, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        pair = Pair({End.CLIENT: writer, End.SERVER: to_server}, set(self._stalled))
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(pair, reader, End.SERVER))
                tasks.create_task(self._pump(pair, answers, End.CLIENT))
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pump(self, pair: "Pair", reader: asyncio.StreamReader, end: End) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._pass(pair, data, end)
        await self._passing.wait()
        if end not in pair.dead:
            pair.writers[end].close()
        elif self._stalled:
            pair.is_half_closed = True
        else:
            pair.reset()

    async def _pass(self, pair: "Pair", data: bytes, end: End) -> None:
        await asyncio.sleep(self.delay_s)
        await self._passing.wait()
        is_last = end is End.SERVER and _has(data, self._stall_after) and end not in pair.dead
        if is_last or (end is End.SERVER and _has(data, self._stall_before)):
            self._stall_after = self._stall_before = None
            self.stall()
        if end in pair.dead and not is_last:
            self.bytes_swallowed += len(data)
            return
        pair.writers[end].write(data)
        await pair.writers[end].drain()


class Pair:
    """A connection of a client, and ours to the server for it."""

    def __init__(self, writers: dict[End, asyncio.StreamWriter], dead: set[End]) -> None:
        """Hold what writes to each end; nothing reaches the dead ones."""
        self.writers = writers
        self.dead = dead
        self.is_half_closed = False

    def reset(self) -> None:
        """End both connections as a crash would."""
        for writer in self.writers.values():
            _reset(writer)

    def abort(self) -> None:
        """End what is left of both connections."""
        for writer in self.writers.values():
            writer.transport.abort()


def _has(data: bytes, said: bytes | None) -> bool:
    return said is not None and said in data


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a RST; a plain close would look orderly."""
    with suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncGenerator[TcpProxy]:
    """Run a proxy before a server."""
    proxy = TcpProxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.refuse()
        await eventually(proxy.is_empty)
