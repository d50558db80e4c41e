"""Connections: what one endpoint does on its connection never reaches another call."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from endpoint_server import Call, Reply, endpoint
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import BrokenAnswer, CallError, TookTooLong
from program_service.webhooks.guard import Guard
from program_service.webhooks.streams import Wire
from raw_endpoints import HEAD, Resolver, echo, raw, sending

LOCAL = Guard.parse("127.0.0.0/8, billing.example")
PATIENCE_S = 20.0
TAKEN = HEAD + b"content-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
LONG = HEAD + b"content-length: 60000\r\n\r\n" + b" " * 60_000


async def post(caller: Caller, url: str, *, within_s: float = PATIENCE_S) -> int:
    """Call, and return the status of the answer."""
    return (await caller.post(url, headers={}, body=b"{}", within_s=within_s)).status


@asynccontextmanager
async def talkative(
    answer: Callable[[asyncio.StreamWriter], None], context: ssl.SSLContext | None = None
) -> AsyncGenerator[str]:
    """Answer each call of a connection with whatever is written here; yield the authority."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                answer(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f":{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(TAKEN + GONE, id="together"),
        pytest.param(LONG + GONE * 2_000, id="longer than one read"),
        pytest.param(TAKEN + GONE[:20], id="in part"),
    ],
)
@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_second_answer_to_one_call_does_not_answer_the_next(
    certificate: Path, answer: bytes, *, is_encrypted: bool
) -> None:
    """A 410 would disable another program's job."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    caller = Caller(LOCAL, resolver=Resolver(*[["127.0.0.1"]] * 9), ssl_context=trusting)
    scheme = "https" if is_encrypted else "http"

    def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with talkative(write, context if is_encrypted else None) as port:
        statuses = [await post(caller, f"{scheme}://billing.example{port}/") for _ in range(5)]
        await caller.aclose()
    assert statuses == [200] * 5


async def test_answer_that_nobody_asked_for_closes_the_connection() -> None:
    sent = asyncio.Event()

    def write(writer: asyncio.StreamWriter) -> None:
        writer.write(TAKEN)
        asyncio.get_running_loop().call_later(0.05, late, writer)

    def late(writer: asyncio.StreamWriter) -> None:
        writer.write(GONE)
        sent.set()

    async with talkative(write) as port:
        caller = Caller(LOCAL)
        assert await post(caller, f"http://127.0.0.1{port}/") == 200
        await sent.wait()
        await asyncio.sleep(0.05)
        assert await post(caller, f"http://127.0.0.1{port}/") == 200
        await caller.aclose()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_sockets_are_closed_however_a_call_ends(scheme: str) -> None:
    """Also when the deadline comes in the middle of a TLS handshake."""
    connected = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            connected -= 1
            writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    caller = Caller(LOCAL)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(TookTooLong) as caught:
        await post(caller, url, within_s=0.1)
    assert caught.value.has_connected == (scheme == "http")
    calling = asyncio.create_task(post(caller, url))
    while not connected:
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    while connected:
        await asyncio.sleep(0.01)
    await caller.aclose()
    server.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CHUNKED + b"1\r\nx\r\n" * 30_000, "parts"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 20_000, "head of the answer"),
        (
            HEAD
            + b"transfer-encoding: chunked\r\n\r\n"
            + (b"1;" + b"x" * 900 + b"\r\nx\r\n") * 3_000,
            "framing",
        ),
    ],
    ids=["chunks", "interim answers", "extensions of chunks"],
)
async def test_work_that_an_answer_makes_is_bounded(answer: bytes, said: str) -> None:
    async with raw(sending(answer)) as url:
        with pytest.raises(BrokenAnswer, match=said):
            await post(Caller(LOCAL), url)


async def test_broken_call_leaves_nothing_for_the_next_one() -> None:
    """A call that was cut off is not continued by the next call to the same host."""
    may_answer = asyncio.Event()

    async def slow(call: Call) -> Reply:
        if call.path == "/slow":
            await may_answer.wait()
        return Reply(200, {"path": call.path})

    async with endpoint(slow) as server:
        caller = Caller(LOCAL)
        base = f"http://127.0.0.1:{server.port}"
        with pytest.raises(CallError):
            await post(caller, f"{base}/slow", within_s=0.1)
        may_answer.set()
        answer = await caller.post(f"{base}/b", headers={}, body=b"", within_s=PATIENCE_S)
        assert answer.body == b'{"path": "/b"}'
        await caller.aclose()


async def test_idle_connections_are_bounded_over_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("program_service.webhooks.connections.MAX_IDLE", 3)
    async with endpoint(echo) as server:
        caller = Caller(LOCAL)
        for number in range(1, 9):
            resolved = f"http://127.0.0.1:{server.port}/{number}"
            await asyncio.gather(*(post(caller, resolved) for _ in range(number)))
        await asyncio.sleep(0.05)
        assert server.connected <= 3
        await caller.aclose()


async def test_connection_whose_socket_is_gone_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_wire: Wire) -> bool:
        message = "fileno is -1"
        raise ValueError(message)

    async with endpoint(echo) as server:
        caller = Caller(LOCAL)
        with monkeypatch.context() as patch:
            patch.setattr(Wire, "has_more", fail)
            assert [await post(caller, server.url) for _ in range(2)] == [200, 200]
        assert server.connections == 2
        await caller.aclose()
