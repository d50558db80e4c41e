"""Foreign: what others than us send, and what a driver may do: an endpoint, messages, cancels."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from pamqp.commands import Basic

from chaos.storm.clock import put

DEEP = 1_000

LATE = "Retry-After: Mon, 01 Jan 2027 00:00:00 +99999999999999\r\nContent-Length: 0"
HUGE = "Retry-After: 1e400\r\nContent-Length: 99999999999999999999"
NESTED = '{"detail": ' + "[" * DEEP + "]" * DEEP + "}"
HEADERS: tuple[bytes, ...] = (
    f"HTTP/1.1 503 Later\r\n{LATE}\r\n\r\n".encode(),
    f"HTTP/1.1 400 No\r\nContent-Type: application/json\r\n\r\n{NESTED}".encode(),
    f"HTTP/1.1 429 Later\r\n{HUGE}\r\n\r\n".encode(),
)
"""Responses whose headers or body are more than a parser expects; the first two were observed."""

BODIES: tuple[bytes, ...] = (
    b"\xff\xfe\x00",
    b"[" * 5_000,
    b'{"run_ids": ["' + b"x" * 70_000 + b'"]}',
    b'{"run_ids": ' + b"9" * 5_000 + b"}",
    b'{"run_ids": [null, 1e400, {}], "published_at": "9999-99-99", "hops": -1}',
    b"null",
)


class _Raw(Basic.Properties):
    """Properties whose bytes we choose."""

    raw: bytes = b""

    def marshal(self) -> bytes:
        """Return these bytes."""
        return self.raw


def odd_properties() -> list[Any]:
    """Return properties of messages that the broker passes on, and that are hard to read."""
    binary_type = _Raw()
    binary_type.raw = struct.pack(">H", 1 << 15) + b"\2\xff\xfe"
    end_of_time = _Raw()
    end_of_time.raw = struct.pack(">H", 1 << 6) + struct.pack(">Q", 2**63 - 1)
    return [
        Basic.Properties(),
        Basic.Properties(headers={"x": {"y": "z"}}),
        binary_type,
        end_of_time,
    ]


@dataclass(slots=True)
class HostileEndpoint:
    """A server that answers every call with one of `HEADERS`."""

    url: str = ""
    sent: int = 0


@asynccontextmanager
async def hostile_endpoint() -> AsyncGenerator[HostileEndpoint]:
    """Serve as long as the storm lasts."""
    endpoint, answers = HostileEndpoint(), cycle(HEADERS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(next(answers))
            await writer.drain()
            endpoint.sent += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/job"
    try:
        yield endpoint
    finally:
        server.close()


class Strays:
    """How many calls the drivers of one process reject, with a `CancelledError` of nobody's.

    `stepped/strays.py` reads the file, and adds a line to another one for each call.
    """

    def __init__(self, file: Path) -> None:
        """Begin without any."""
        self._file = file
        self._met = file.with_suffix(".met")
        self.allow(0)

    def allow(self, count: int) -> None:
        """Let so many calls be rejected from now on; none ends that."""
        put(self._file, count)

    @property
    def met(self) -> int:
        """Count the calls that were rejected."""
        return self._met.read_text().count("\n") if self._met.exists() else 0

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to look there."""
        return {"STORM_STRAYS": str(self._file), "STORM_STRAYS_MET": str(self._met)}
