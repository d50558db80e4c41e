"""Unexpected: whatever is raised below a call becomes an error of that call, and is logged."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from program_service.webhooks.answers import read_answer
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import CallError, Forbidden, UnexpectedCallError
from program_service.webhooks.guard import Address, Guard
from program_service.webhooks.resolving import Resolver
from program_service.webhooks.streams import Wire
from raw_endpoints import HEAD, TLS, raw, sending

LOCAL = Guard.parse("127.0.0.0/8, billing")
PATIENCE_S = 20.0
URL = "http://billing/"
ERRORS: dict[str, Callable[[], BaseException]] = {
    "runtime": lambda: RuntimeError("cannot schedule new futures after shutdown"),
    "index": lambda: IndexError("pop from an empty deque"),
    "recursion": RecursionError,
    "assertion": AssertionError,
    "memory": MemoryError,
    "type": lambda: TypeError("a"),
    "group": lambda: ExceptionGroup("attempts", [RuntimeError("a"), OSError("b")]),
    "cancelled": lambda: asyncio.CancelledError("by the resolver"),
    "cancelled in a group": lambda: BaseExceptionGroup("a", [asyncio.CancelledError()]),
}
each_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)


def caller(resolver: Resolver | None = None) -> Caller:
    """Make a caller."""
    return Caller(LOCAL, resolver=resolver, ssl_context=TLS)


async def post(by: Caller, url: Any = URL, **headers: str) -> int:
    """Call, and return the status of the answer."""
    return (await by.post(url, headers=headers, body=b"{}", within_s=PATIENCE_S)).status


def resolving(to: Callable[[], BaseException]) -> Caller:
    """Make a caller whose resolver fails."""

    async def fail(_host: str, _port: int) -> list[Address]:
        raise to()

    return caller(fail)


@each_error
async def test_what_a_resolver_raises_is_an_error_of_the_call(
    error: Callable[[], BaseException],
) -> None:
    with capture_logs() as lines, pytest.raises(UnexpectedCallError):
        await post(resolving(error))
    (line,) = lines
    assert (line["event"], line["target"]) == ("call.failed_unexpectedly", "billing")


@each_error
@pytest.mark.parametrize("method", ["read", "write", "has_more"])
async def test_what_a_connection_raises_is_an_error_of_the_call(
    monkeypatch: pytest.MonkeyPatch, method: str, error: Callable[[], BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error()

    async with raw(sending(HEAD + b"content-length: 0\r\n\r\n")) as url:
        monkeypatch.setattr(Wire, method, fail)
        with capture_logs(), pytest.raises(CallError):
            await post(caller(), url)


async def test_cancellation_of_the_call_itself_is_none_of_these() -> None:
    async def wait(_host: str, _port: int) -> list[Address]:
        await asyncio.Event().wait()
        raise AssertionError

    calling = asyncio.create_task(post(caller(wait)))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


@pytest.mark.parametrize("within_s", [float("nan"), float("inf"), -1.0, 0.0])
async def test_time_limit_that_is_none_fails_the_call_alone(within_s: float) -> None:
    """A timer at NaN would hold up all timers of the event loop that come after it."""
    async with raw(sending()) as url:
        with capture_logs(), pytest.raises(CallError):
            await caller().post(url, headers={}, body=b"", within_s=within_s)


@pytest.mark.parametrize("url", [None, 7, {}, [], b"http://billing/", "\ud83d", "http://[", ""])
async def test_address_that_is_none_is_an_error_of_the_call(url: Any) -> None:
    with capture_logs(), pytest.raises(CallError):
        await post(caller(), url)


@pytest.mark.parametrize("value", ["a\nb", "a\0b", " a", "\ud83d", "a\r\nx-b: c"])
async def test_header_that_cannot_be_sent_is_an_error_of_the_call(value: str) -> None:
    async with raw(sending(HEAD + b"content-length: 0\r\n\r\n")) as url:
        with pytest.raises(CallError):
            await caller().post(url, headers={"webhook-id": value}, body=b"", within_s=PATIENCE_S)


@given(st.text() | st.text("htps:/[]@%.:0189abx\\? #").map("http://{}".format))
def test_checking_an_address_raises_nothing_but_forbidden(url: str) -> None:
    with suppress(Forbidden):
        LOCAL.check_url(url)


STATUS_LINES = st.builds(
    lambda version, status, reason: b"HTTP/%s %s %s\r\n" % (version, status, reason),
    st.sampled_from([b"1.1", b"1.0", b"2", b"0.9", b""]),
    st.integers(0, 1_100).map(lambda status: b"%03d" % status) | st.sampled_from([b"", b"2xx"]),
    st.binary(max_size=5),
)
HEADER_LINES = st.builds(
    lambda name, value: name + b": " + value + b"\r\n",
    st.sampled_from(
        [
            *(b"content-length", b"transfer-encoding", b"content-encoding", b"connection"),
            *(b"retry-after", b"location", b"trailer", b"upgrade", b"x-a", b"", b"\xff"),
        ]
    )
    | st.binary(max_size=5),
    st.sampled_from([b"chunked", b"0", b"7", b"-1", b"9" * 30, b"close", b"gzip", b"identity"])
    | st.binary(max_size=10),
)
BODIES = st.binary(max_size=20) | st.sampled_from(
    [b'{"error": 7}', b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"0\r\n\r\n", b"{}"]
)
ANSWERS = st.builds(
    lambda line, headers, body: line + b"".join(headers) + b"\r\n" + body,
    *(STATUS_LINES, st.lists(HEADER_LINES, max_size=5), BODIES),
) | st.binary(max_size=200)


async def call_an_endpoint_that_sends(answer: bytes) -> None:
    """Call and read; nothing but an error of calls may come out."""
    async with raw(sending(answer)) as url:
        one = caller()
        try:
            received = await one.post(url, headers={}, body=b"{}", within_s=PATIENCE_S)
        except UnexpectedCallError:
            raise
        except CallError:
            return
        finally:
            await one.aclose()
    json.dumps(dict(received.headers))
    read_answer(received, within_s=30)


@settings(max_examples=50, deadline=None)
@given(ANSWERS)
def test_any_bytes_are_an_answer_or_an_error_of_the_call(answer: bytes) -> None:
    asyncio.run(call_an_endpoint_that_sends(answer))


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=5_000, deadline=None)
@given(ANSWERS)
def test_any_bytes_are_an_answer_or_an_error_of_the_call_in_many_more_examples(
    answer: bytes,
) -> None:
    asyncio.run(call_an_endpoint_that_sends(answer))
