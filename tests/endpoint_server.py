"""Endpoint server: somebody's HTTP endpoint on a real socket, whose answers a test decides."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 202: "Accepted", 204: "No Content"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, read."""
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content

    @property
    def links(self) -> dict[str, str]:
        """Where to answer later."""
        links = self.json["links"]
        assert isinstance(links, dict)
        return links


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to be sent."""

    status: int = 200
    body: bytes | Json = b""
    headers: dict[str, str] = field(default_factory=dict)

    def as_bytes(self) -> bytes:
        """Return it as HTTP/1.1."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"content-length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Because')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


Answer = Callable[[Call], Awaitable[Reply]]


class EndpointServer:
    """Answers calls one after the other on each connection, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        """Ask this function for each answer."""
        self.answer = answer
        self.calls: list[Call] = []
        self.cut_off = 0
        self.connections = 0
        self.connected = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is called."""
        return f"http://127.0.0.1:{self.port}/job"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its client is gone."""
        self.connections += 1
        self.connected += 1
        try:
            while (call := await _read(reader)) is not None:
                self.calls.append(call)
                answering = asyncio.ensure_future(self.answer(call))
                # a client that hangs up while we think is a call that was stopped
                gone = asyncio.ensure_future(reader.read(1))
                await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    self.cut_off += 1
                    answering.cancel()
                    return
                gone.cancel()
                await asyncio.wait([gone])
                writer.write(answering.result().as_bytes())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.connected -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    try:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except asyncio.IncompleteReadError:  # its caller died
        return None
    return Call(first.split(" ")[1], headers, body)


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncGenerator[EndpointServer]:
    """Serve on a free port of this machine."""
    place = EndpointServer(answer)
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0)
    place.port = server.sockets[0].getsockname()[1]
    try:
        yield place
    finally:
        server.close()
