"""Network: between each process and each server, where it can be cut, hidden, or robbed."""

import asyncio

from proxy import CHUNK, Proxy

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""What PostgreSQL answers to a COMMIT that is done: CommandComplete, its length, the command."""


class Link(Proxy):
    """A proxy that may swallow what its server answers to COMMIT, and reset the connection.

    The transaction is committed then, and its client cannot know.
    """

    def __init__(self, host: str, port: int) -> None:
        """Stand before this server."""
        super().__init__(host, port)
        self.to_lose = 0
        self.lost = 0

    @property
    def connections(self) -> int:
        """Count the connections that are open now."""
        return len(self._open) // 2

    @property
    def stalled(self) -> int:
        """Count the connections that both sides believe in and nothing passes."""
        return len(self._stalled) // 2

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pump(_Robbed(self, reader, writer), writer)


class _Robbed(asyncio.StreamReader):
    """One direction of a connection: loses the answer to a COMMIT when the link is to lose one."""

    def __init__(
        self, link: Link, inner: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__()
        self._link, self._inner, self._onward = link, inner, writer

    async def read(self, n: int = CHUNK) -> bytes:
        data = await self._inner.read(n)
        if self._link.to_lose and COMMITTED in data:
            self._link.to_lose -= 1
            self._link.lost += 1
            self._onward.transport.abort()
            return b""
        return data
