"""Wire: a small HTTP server for the links; any client may speak to it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from program_executor.errors import UsageError
from program_service.webhooks.caller import LIMIT_BYTES

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    500: "Internal Server Error",
}
CLOSE_WITHIN_S = 5.0
MOST_BYTES = 32 * LIMIT_BYTES
"""Longer bodies are not even read; those over the service's limit are, to be refused in words."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, in JSON."""

    status: int
    content: dict[str, Any]

    def as_bytes(self) -> bytes:
        """Return it as HTTP/1.1."""
        kind = "application/json" if self.status == 200 else "application/problem+json"  # noqa: PLR2004
        body = json.dumps(self.content).encode()
        head = (
            f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Refused')}\r\n"
            f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


Answer: TypeAlias = Callable[[Request], Response]


class Malformed(ValueError):
    """What came is no HTTP request."""


@asynccontextmanager
async def serving(answer: Answer, host: str, port: int) -> AsyncGenerator[int]:
    """Answer requests until the end of the block; yield the port.

    Raises:
        UsageError: the address cannot be listened on.
    """
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations[task] = writer
        try:
            await _converse(answer, reader, writer)
        finally:
            del conversations[task]
            writer.close()

    try:
        server = await asyncio.start_server(converse, host, port)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --listen"
        raise UsageError(msg) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in conversations.values():
            writer.transport.abort()
        if conversations:
            await asyncio.wait(list(conversations), timeout=CLOSE_WITHIN_S)


async def _converse(
    answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while True:
            request = await _read(reader, writer)
            writer.write(_answered(answer, request).as_bytes())
            await writer.drain()
            if request.headers.get("connection", "").lower() == "close":
                return
    except Malformed as error:
        writer.write(Response(400, {"code": "malformed", "detail": str(error)}).as_bytes())
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass  # the client is gone, or speaks something else


def _answered(answer: Answer, request: Request) -> Response:
    try:
        return answer(request)
    except Exception as error:  # noqa: BLE001 - everything done for one request
        detail = f"The request cannot be read: {type(error).__name__}."
        return Response(500, {"code": "internal", "detail": detail})


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        method, path, _ = first.split(" ")
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise Malformed from error
    if headers.get("expect", "").lower() == "100-continue":  # curl and PHP ask, and wait
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Request(method, path, headers, await _read_chunks(reader))
    if not 0 <= length <= MOST_BYTES:
        raise Malformed
    return Request(method, path, headers, await reader.readexactly(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise Malformed from error
        if not 0 <= size <= MOST_BYTES - len(body):
            raise Malformed
        if size == 0:
            break
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)
