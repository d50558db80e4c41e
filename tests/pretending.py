"""Pretending: servers that say to whoever connects what a real one says in a bad moment."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

SSL_REQUEST_BYTES = 8


def refusal_of_postgresql(state: str, text: str) -> bytes:
    """Return PostgreSQL's message of an error, as it is sent to somebody who is not let in."""
    fields = b"".join(
        name + value.encode() + b"\0"
        for name, value in ((b"S", "FATAL"), (b"C", state), (b"M", text))
    )
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


@asynccontextmanager
async def postgresql_that_says(state: str, text: str, *, port: int = 0) -> AsyncGenerator[int]:
    """Serve a PostgreSQL without TLS that refuses everybody; yield its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await reader.readexactly(SSL_REQUEST_BYTES)
            writer.write(b"N")
            await reader.read(10_000)
            writer.write(refusal_of_postgresql(state, text))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", port)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def server_that_says(text: bytes) -> AsyncGenerator[int]:
    """Serve something else: always these bytes; yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(8)
            writer.write(text)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
