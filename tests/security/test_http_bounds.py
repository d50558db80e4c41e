"""Bounds of HTTP: what a client sends too much of, or too slowly, is refused by the server itself.

The service, a worker's port and `dev` have the same server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import generate_latest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from patience import eventually
from program_executor import bounded, web
from program_executor.bounded import MOST_PIPELINED, BoundedProtocol, Bounds
from program_executor.processes import listen
from program_executor.web import Server, server
from program_service.telemetry import Metrics

KIB = 1024
HEAD = 64 * KIB
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Room:
    """An application that reads bodies whole, and holds `/held` until it is let go."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.gate = asyncio.Event()
        self.bodies: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer how long the body was."""
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.bodies.append(length)
        if scope["path"] == "/held":
            await self.gate.wait()
        body = b"x" * 4_000_000 if scope["path"] == "/long" else str(length).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Door:
    """A server of a room, and connections to it."""

    def __init__(self, room: Room, api: Server, port: int, metrics: Metrics) -> None:
        """Take what serves where."""
        self.room, self.api, self._port, self._metrics = room, api, port, metrics
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**23)
        self._writers.append(writer)
        return reader, writer

    async def told(self, *parts: bytes) -> bytes:
        """Send these parts, and return all that is answered until the connection is closed."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return b""

    def refused(self, reason: str) -> float:
        """Return how many were refused for it."""
        name = f'program_executor_http_refused_total{{reason="{reason}"}} '
        lines = generate_latest(self._metrics.registry).decode().splitlines()
        return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0.0)

    @property
    def open(self) -> int:
        """How many connections the server has."""
        return len(self.api.server_state.connections)

    def close(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def door(**bounds: Any) -> AsyncIterator[Door]:
    """Serve a room within bounds."""
    listener, metrics, room = listen("127.0.0.1", 0), Metrics(), Room()
    api = server(room, bounds=Bounds(**bounds), metrics=metrics, keep_lifespan=False)
    serving = asyncio.create_task(api.serve([listener]))
    place = Door(room, api, listener.getsockname()[1], metrics)
    try:
        yield place
    finally:
        place.close()
        room.gate.set()
        api.should_exit = True
        await serving


def of(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


CLOSE = b"Connection: close\r\n\r\n"
LONG_HEADS = {
    "one-header": [GET[:-2] + b"X: " + b"x" * HEAD + b"\r\n" + CLOSE],
    "many-headers": [GET[:-2] + b"X: y\r\n" * (HEAD // 6) + CLOSE],
    "long-url": [b"GET /" + b"x" * HEAD + b" HTTP/1.1\r\nHost: localhost\r\n" + CLOSE],
    "long-name": [GET[:-2] + b"x" * HEAD + b": y\r\n" + CLOSE],
    "after-a-request": [GET, GET[:-2] + b"X: " + b"x" * HEAD + b"\r\n" + CLOSE],
    "without-an-end": [GET[:-2] + b"X: ", *([b"x" * HEAD] * 50)],
    "headers-without-an-end": [GET[:-2], *([b"X: y\r\n" * 10_000] * 50)],
}


@pytest.mark.parametrize("name", LONG_HEADS)
async def test_long_head_is_431_and_is_not_kept(name: str) -> None:
    async with door() as place:
        answer = await place.told(*LONG_HEADS[name])
        # what came before is still answered, and then the connection is closed
        assert of(answer) == (200 if name == "after-a-request" else 431)
        assert answer.count(b"HTTP/1.1") == 1
        await eventually(lambda: _is(place.refused("head_too_large") == 1))
        assert len(place.room.bodies) == (1 if name == "after-a-request" else 0)


async def test_most_that_is_parsed_of_a_head_is_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    parse = BoundedProtocol._parse

    def counted(self: BoundedProtocol, piece: bytes) -> None:
        fed.append(len(piece))
        parse(self, piece)

    monkeypatch.setattr(BoundedProtocol, "_parse", counted)
    async with door() as place:
        await place.told(GET[:-2] + b"X: ", *([b"x" * HEAD] * 100))
        assert sum(fed) <= HEAD


async def test_head_within_the_bound_is_answered_however_it_is_cut() -> None:
    head = GET[:-2] + b"X: " + b"x" * (HEAD - 200) + b"\r\n" + CLOSE
    async with door() as place:
        for step in (len(head), 10_000, 1_000):
            pieces = [head[at : at + step] for at in range(0, len(head), step)]
            assert of(await place.told(*pieces)) == 200
        # bodies are not counted, nor is what comes before a head in the same packet
        body = b"x" * 500_000
        sent = POST + b"Content-Length: 500000\r\n\r\n" + body
        answer = await place.told(sent + head[:30_000], head[30_000:])
        assert answer.count(b"HTTP/1.1 200") == 2
        assert place.room.bodies[-2:] == [500_000, 0]


SLOW = {
    "nothing": (b"", 408),
    "empty-lines": (b"\r\n\r\n", 408),
    "half-a-head": (GET[:-2], 408),
    "half-a-body": (POST + b"Content-Length: 10\r\n\r\n12345", 408),
    "half-a-chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123", 408),
    "half-a-second-head": (GET + GET[:-2], 408),
}


@pytest.mark.parametrize("name", SLOW)
async def test_client_that_is_too_slow_is_closed(name: str) -> None:
    sent, status = SLOW[name]
    async with door(head_s=0.1, body_s=0.1) as place:
        answer = await place.told(sent)
        assert of(answer[answer.rfind(b"HTTP/1.1 ") :]) == status
        reason = "body_too_slow" if "half-a-body" in name or "chunk" in name else "head_too_slow"
        await eventually(lambda: _is(place.refused(reason) == 1))
        await eventually(lambda: _is(place.open == 0))


async def test_answer_that_takes_long_is_waited_for() -> None:
    async with door(head_s=0.1, body_s=0.1) as place:
        asked = asyncio.create_task(place.told(GET.replace(b"/ ", b"/held ")[:-2] + CLOSE))
        await eventually(lambda: _is(place.room.bodies == [0]))
        await place.api.on_tick(0)
        await asyncio.sleep(0.3)
        await place.api.on_tick(0)
        place.room.gate.set()
        assert of(await asked) == 200


async def test_client_that_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "STALL_S", 0.1)
    async with door() as place:
        _reader, writer = await place.connect()
        for _ in range(20):
            writer.write(GET.replace(b"/ ", b"/long "))
        await eventually(lambda: _is(place.refused("answer_not_read") == 1))
        await eventually(lambda: _is(place.open == 0))


async def test_idle_connections_make_room_for_new_ones() -> None:
    """Whoever opens all that there may be keeps nobody out."""
    async with door(connections=10) as place:
        idle = [await place.connect() for _ in range(30)]
        assert of(await place.told(GET[:-2] + CLOSE)) == 200
        await eventually(lambda: _is(place.open <= 10))
        # the oldest went first
        assert await idle[0][0].read() == b""
        idle[-1][1].write(GET[:-2] + CLOSE)
        assert of(await idle[-1][0].read()) == 200
        assert place.refused("idle") == 21


async def test_connection_beyond_those_that_are_answered_is_503() -> None:
    async with door(connections=10) as place:
        held = [await place.connect() for _ in range(10)]
        for _, writer in held:
            writer.write(GET.replace(b"/ ", b"/held "))
        await eventually(lambda: _is(len(place.room.bodies) == 10))
        answer = await place.told()
        assert of(answer) == 503
        assert b"too_many_connections" in answer
        assert b"retry-after: 1" in answer
        place.room.gate.set()
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_requests_that_are_sent_ahead_have_a_limit() -> None:
    async with door() as place:
        answer = await place.told(GET * 2_000)
        assert place.refused("too_many_requests") == 1
        assert len(place.room.bodies) <= MOST_PIPELINED + 1
        assert answer.count(b"HTTP/1.1") <= MOST_PIPELINED + 1


async def test_upgrade_to_a_websocket_does_not_leave_the_bounds() -> None:
    upgrade = b"Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    async with door(head_s=0.1) as place:
        answer = await place.told(GET[:-2] + b"Connection: upgrade\r\n" + upgrade + b"\r\n")
        assert of(answer) == 200


async def test_what_is_no_http_is_told_in_one_line_a_minute() -> None:
    with capture_logs() as lines:
        async with door() as place:
            for _ in range(20):
                assert of(await place.told(b"\x16\x03\x01 no HTTP\r\n\r\n")) == 400
            assert place.refused("malformed_request") == 20
            await place.api.on_tick(web.LOG_EVERY_TICKS)
    refused = [line for line in lines if line["event"] == "http.refused"]
    assert [line["refused"] for line in refused] == [{"malformed_request": 20}]


async def _is(value: bool) -> bool:  # noqa: FBT001 - what is waited for
    return value
