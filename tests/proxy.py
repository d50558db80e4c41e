"""A TCP proxy that can swallow what passes, cut it, or refuse it: the network as it may be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

CHUNK = 65_536


class Proxy:
    """Connections from a port of our own to a server; `heal` is the state it begins in."""

    def __init__(self, host: str, port: int) -> None:
        """Stand before this server."""
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._stalled: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0

    async def start(self) -> None:
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """Swallow everything from now on, on open and on new connections: they stay half-open."""
        self._passing.clear()
        self._stalled |= self._open

    def heal(self) -> None:
        """Let new connections pass; those that were stalled never come back to life."""
        self._passing.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def refuse(self) -> None:
        """Listen no more, and reset all connections; `start` listens again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            back_reader, back_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, back_writer}
        self._open |= pair
        if not self._passing.is_set():
            self._stalled |= pair
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, back_writer))
                tasks.create_task(self._pump(back_reader, writer))
        finally:
            self._open -= pair
            self._stalled -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if writer not in self._stalled:
                    writer.write(data)
                    await writer.drain()
        if writer not in self._stalled:
            writer.close()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncGenerator[Proxy]:
    """Run a proxy before a server."""
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.refuse()
