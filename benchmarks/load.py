"""Load: a client that costs little, so that what it calls is measured and not itself."""

import asyncio
import time
from typing import Self
from urllib.parse import urlsplit

CONNECTIONS = 32
FIRST_FAILURE = 300


class CallFailed(Exception):
    """The server answered otherwise than with success."""


class Connection:
    """A connection that is kept alive, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an open connection."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the host of a URL."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def post(self, path: str, body: bytes) -> bytes:
        """Post JSON and return the body of the answer."""
        return await self._send("POST", path, body)

    async def put(self, path: str, body: bytes) -> bytes:
        """Put JSON and return the body of the answer."""
        return await self._send("PUT", path, body)

    async def get(self, path: str, headers: str = "") -> bytes:
        """Return the body of an answer."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode())

    async def _send(self, method: str, path: str, body: bytes) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(head.encode() + body)

    async def _ask(self, request: bytes) -> bytes:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._body(head)
        if int(head.split(b" ", 2)[1]) >= FIRST_FAILURE:
            raise CallFailed((head + body).decode(errors="replace"))
        return body

    async def _body(self, head: bytes) -> bytes:
        _, found, rest = head.partition(b"content-length:")
        if found:
            return await self._reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        body = b""
        while b"transfer-encoding: chunked" in head:
            size = int(await self._reader.readline(), 16)
            body += (await self._reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
        return body

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        await self._writer.wait_closed()


async def post_rate(url: str, path: str, body: bytes, *, calls: int) -> float:
    """Post the same over and over on 32 connections, and return the calls per second."""
    opened = [await Connection.open(url) for _ in range(CONNECTIONS)]
    left = iter(range(calls))

    async def post_some(connection: Connection) -> None:
        for _ in left:
            await connection.post(path, body)

    began = time.perf_counter()
    await asyncio.gather(*map(post_some, opened))
    took = time.perf_counter() - began
    for connection in opened:
        await connection.close()
    return calls / took
