"""Caller: over real sockets, with endpoints that do what endpoints do."""

import asyncio
import gzip
import socket
import ssl
import struct
from pathlib import Path

import pytest

from endpoint_server import Call, EndpointServer, Reply, endpoint
from program_service.webhooks.caller import Answer, Caller
from program_service.webhooks.errors import (
    BrokenAnswer,
    CallError,
    Forbidden,
    NoConnection,
    TookTooLong,
)
from program_service.webhooks.guard import Address, Guard
from raw_endpoints import HEAD, TLS, Resolver, Serve, dripping, echo, raw, sending, tls_endpoint

LOCAL = Guard.parse("127.0.0.0/8, ::1/128")
PATIENCE_S = 20.0
SOON_S = 0.3


async def post(url: str, *, within_s: float = PATIENCE_S, caller: Caller | None = None) -> Answer:
    """Post once."""
    chosen = caller or Caller(LOCAL, ssl_context=TLS)
    try:
        return await chosen.post(url, headers={"x-a": "b"}, body=b"{}", within_s=within_s)
    finally:
        if caller is None:
            await chosen.aclose()


async def nobody_is_connected(server: EndpointServer) -> None:
    """Wait until all connections of an endpoint are closed."""
    while server.connected:
        await asyncio.sleep(0.01)


async def test_call_carries_its_headers_and_brings_the_answer() -> None:
    async with endpoint(echo) as server:
        answer = await post(server.url)
        (call,) = server.calls
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(answer.body))
    assert call.body == b"{}"
    assert call.headers["x-a"] == "b"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("program-executor/")
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["host"] == f"127.0.0.1:{server.port}"


async def test_connections_are_kept_and_replaced() -> None:
    async with endpoint(echo) as server:
        caller = Caller(LOCAL)
        for _ in range(3):
            await post(server.url, caller=caller)
        assert len(server.calls) == 3
        assert server.connections == 1
        await caller.aclose()


async def test_connections_that_nobody_uses_are_closed() -> None:
    """Also to a host that is never called again, and also those that never stood."""
    async with endpoint(echo) as server:
        caller = Caller(LOCAL, idle_s=0.05)
        closing = asyncio.create_task(caller.connections.run())
        await post(server.url, caller=caller)
        with pytest.raises(NoConnection):
            await post(f"http://127.0.0.2:{server.port}/", caller=caller)
        await nobody_is_connected(server)
        await post(server.url, caller=caller)
        assert server.connections == 2
        closing.cancel()
        await caller.aclose()


async def test_connections_of_a_closed_caller_are_closed_after_their_call() -> None:
    may_answer = asyncio.Event()

    async def slow(_call: Call) -> Reply:
        await may_answer.wait()
        return Reply()

    async with endpoint(slow) as server:
        caller = Caller(LOCAL)
        calling = asyncio.create_task(post(server.url, caller=caller))
        while not server.calls:
            await asyncio.sleep(0.01)
        await caller.aclose()
        may_answer.set()
        assert (await calling).status == 200
        await nobody_is_connected(server)


@pytest.mark.parametrize("path", ["/a/b;v=1", "/a;b=1/c?d;e=%20", "/?x=1", "/a%2Fb"])
async def test_path_is_called_as_it_was_written(path: str) -> None:
    async with endpoint(echo) as server:
        await post(f"http://127.0.0.1:{server.port}{path}")
    assert [call.path for call in server.calls] == [path]


async def test_address_in_brackets_is_named_in_brackets() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + b"content-length: 0\r\n\r\n")
        writer.close()

    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    async with server:
        port = server.sockets[0].getsockname()[1]
        await post(f"http://[::1]:{port}/")
    assert b"\r\nhost: [::1]:%d\r\n" % port in heard[0].lower()


async def test_headers_of_a_call_do_not_replace_those_of_every_call() -> None:
    async with endpoint(echo) as server:
        caller = Caller(LOCAL)
        headers = {"host": "elsewhere", "accept-encoding": "gzip", "x-a": "b"}
        await caller.post(server.url, headers=headers, body=b"{}", within_s=PATIENCE_S)
        await caller.aclose()
    (call,) = server.calls
    assert call.headers["host"] == f"127.0.0.1:{server.port}"
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["x-a"] == "b"


async def test_endpoint_that_hangs_up_at_once_is_an_error_in_words() -> None:
    """The connection may be gone before we can ask who is at its other end."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)  # a reset, not an orderly end
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(20):
            with pytest.raises((NoConnection, BrokenAnswer)):
                await post(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers_and_not_followed(status: int) -> None:
    async def elsewhere(call: Call) -> Reply:
        return Reply(status, headers={"location": f"http://{call.headers['host']}/other"})

    async with endpoint(elsewhere) as server:
        assert (await post(server.url)).status == status
        assert [call.path for call in server.calls] == ["/job"]


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with endpoint(echo) as server:
        assert (await post(server.url)).status == 200


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(dripping(b"", b""), id="silent"),
        pytest.param(dripping(b"", b"HTTP/1.1 "[:1]), id="slow-status"),
        pytest.param(dripping(HEAD, b"x"), id="slow-headers"),
        pytest.param(dripping(HEAD + b"content-length: 9999\r\n\r\n", b"x"), id="slow-body"),
        pytest.param(dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), id="never-final"),
    ],
)
async def test_answer_that_does_not_come_to_its_end_is_cut_off_at_the_deadline(
    serve: Serve,
) -> None:
    async with raw(serve) as url:
        with pytest.raises(TookTooLong, match=r"within 0\.3 s"):
            await post(url, within_s=SOON_S)


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        pytest.param(sending(), CallError, id="nothing"),
        pytest.param(sending(HEAD + b"content-length: 10\r\n\r\nhalf"), CallError, id="half"),
        pytest.param(
            sending(HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab"), CallError, id="chunk"
        ),
        pytest.param(sending(HEAD + b"content-le"), CallError, id="half-headers"),
        pytest.param(sending(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), BrokenAnswer, id="ssh"),
        pytest.param(sending(b"\x16\x03\x01\x00\xff\xff" * 50), CallError, id="tls"),
        pytest.param(sending(HEAD + b"bad header\r\n\r\n"), BrokenAnswer, id="bad-header"),
        pytest.param(sending(HEAD + b"a: " + b"x" * 500_000), CallError, id="huge-header"),
        pytest.param(sending(HEAD + b"content-length: -1\r\n\r\n"), BrokenAnswer, id="bad-length"),
    ],
)
async def test_what_is_no_whole_answer_is_an_error_in_words(
    serve: Serve, kind: type[CallError]
) -> None:
    async with raw(serve) as url:
        with pytest.raises(kind) as caught:
            await post(url)
    assert isinstance(caught.value, NoConnection | BrokenAnswer)
    assert str(caught.value)


@pytest.mark.parametrize("is_endless", [True, False])
async def test_answer_that_is_too_long_is_cut_off(*, is_endless: bool) -> None:
    head = b"" if is_endless else b"content-length: 10485760\r\n"

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + head + b"\r\n")
        for _ in range(160):
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with raw(serve) as url:
        with pytest.raises(BrokenAnswer, match="longer than 1048576 bytes"):
            await post(url)


async def test_answer_of_just_the_limit_is_taken() -> None:
    async def long(_call: Call) -> Reply:
        return Reply(200, b"x" * 1_048_576)

    async with endpoint(long) as server:
        assert len((await post(server.url)).body) == 1_048_576


async def test_compressed_answer_is_refused_and_never_expanded() -> None:
    """A gzip bomb: a kilobyte for each megabyte."""
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def explode(_call: Call) -> Reply:
        return Reply(200, bomb, {"content-encoding": "gzip"})

    async with endpoint(explode) as server:
        with pytest.raises(BrokenAnswer, match="compressed"):
            await post(server.url)


async def test_nobody_there_is_no_connection(unused_tcp_port: int) -> None:
    with pytest.raises(NoConnection, match="does not let us connect"):
        await post(f"http://127.0.0.1:{unused_tcp_port}/")


async def test_name_without_an_address_is_no_connection() -> None:
    async def nothing(host: str, port: int) -> list[Address]:
        msg = f"{host}:{port} is unknown"
        raise OSError(msg)

    caller = Caller(Guard.parse("billing"), resolver=nothing)
    with pytest.raises(NoConnection, match="billing has no address"):
        await post("http://billing/", caller=caller)


async def test_cancelled_call_hangs_up() -> None:
    async def hang(_call: Call) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with endpoint(hang) as server:
        calling = asyncio.create_task(post(server.url))
        while not server.calls:
            await asyncio.sleep(0.01)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        while not server.cut_off:
            await asyncio.sleep(0.01)


async def test_name_is_resolved_once_and_that_address_is_used() -> None:
    """DNS rebinding: a second look-up would get another answer, and is never made."""
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    async with endpoint(echo) as server:
        caller = Caller(Guard.parse("billing"), resolver=resolver)
        await post(f"http://billing:{server.port}/job", caller=caller)
        await caller.aclose()
        assert server.calls[0].headers["host"] == f"billing:{server.port}"
    assert resolver.asked == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["2606:4700:4700::1111", "::ffff:10.0.0.1"],
        ["169.254.169.254"],
    ],
    ids=repr,
)
async def test_name_with_one_forbidden_address_is_forbidden(addresses: list[str]) -> None:
    caller = Caller(Guard(), resolver=Resolver(addresses))
    with pytest.raises(Forbidden):
        await post("https://billing.example/", caller=caller)


async def test_second_call_is_checked_anew() -> None:
    """The name moved between two calls: from a public address to one of ours."""
    caller = Caller(Guard(), resolver=Resolver(["10.0.0.1"]))
    with pytest.raises(Forbidden, match=r"billing\.example"):
        await post("https://billing.example/", caller=caller)


async def test_address_that_refuses_gives_way_to_the_next() -> None:
    async with endpoint(echo) as server:
        caller = Caller(LOCAL, resolver=Resolver(["127.0.0.2", "127.0.0.1"]))
        guarded = await post(f"http://billing:{server.port}/", caller=caller)
        await caller.aclose()
    assert guarded.status == 200


async def test_pinned_connection_asks_for_the_name_and_verifies_it(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    names: list[str | None] = []
    guard = Guard.parse("billing.example other.example")
    async with tls_endpoint(certificate, names) as port:
        caller = Caller(guard, resolver=Resolver(["127.0.0.1"]), ssl_context=trusting)
        answer = await post(f"https://billing.example:{port}/", caller=caller)
        await caller.aclose()
        assert f'"host": "billing.example:{port}"'.encode() in answer.body
        for stranger in ("https://other.example", "https://billing.example"):
            context = trusting if "other" in stranger else None
            caller = Caller(guard, resolver=Resolver(["127.0.0.1"]), ssl_context=context)
            with pytest.raises(NoConnection, match="certificate"):
                await post(f"{stranger}:{port}/", caller=caller)
            await caller.aclose()
    assert names[0] == "billing.example"
