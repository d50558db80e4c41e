"""Caller: one call, within one deadline, to an address that was checked.

httpcore knows no redirects, no proxies of the environment and no compression; its network backend
is ours, so no name is resolved out of the guard's sight (docs/adr/0011).
"""

import asyncio
import math
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore

from program_service.cancellation import is_being_cancelled
from program_service.logs import log
from program_service.telemetry import VERSION, Event
from program_service.tracing.spans import HEADER, Kind, Traces
from program_service.webhooks.connecting import LIMIT_BYTES as LIMIT_BYTES  # noqa: PLC0414
from program_service.webhooks.connecting import Exchange, GuardedBackend, exchange
from program_service.webhooks.connections import IDLE_S, Connections
from program_service.webhooks.errors import (
    BrokenAnswer,
    CallError,
    NoConnection,
    TookTooLong,
    UnexpectedCallError,
)
from program_service.webhooks.guard import Guard, Target, host_of
from program_service.webhooks.resolving import LookUps, Resolver
from program_service.webhooks.streams import words_of

CLIENT_ERROR = 400
MAX_SHOWN = 100
"""Characters of a header in an error message."""
MAX_PARTS = 20_000
"""Of one answer: in parts of one byte each, a megabyte would take the event loop 20 s of work."""

BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, OSError)
NONSENSE = (httpcore.ProtocolError, httpcore.UnsupportedProtocol, UnicodeError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Makes calls over connections that are kept for the next one."""

    def __init__(  # noqa: PLR0913 - what tests set is kept apart
        self,
        guard: Guard,
        *,
        limit_bytes: int = LIMIT_BYTES,
        idle_s: float = IDLE_S,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Take the rules, how long an answer may be, and how long a connection waits for a call."""
        self._guard = guard
        self._limit_bytes = limit_bytes
        backend = GuardedBackend(guard, resolver or LookUps())
        self.connections = Connections(backend, idle_s=idle_s, ssl_context=ssl_context)
        """A loop: it closes what nobody used for a while."""
        self._traces = traces or Traces()

    async def aclose(self) -> None:
        """Close all connections that are kept; those in use close when their call is over."""
        await self.connections.aclose()

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        within_s: float,
        connect_within_s: float | None = None,
    ) -> Answer:
        """Post a JSON body and return the whole answer.

        Raises:
            CallError: no answer came that could be taken, within that time. Nothing else is raised,
                whatever the other end does.
        """
        try:
            call = Call({**headers}, body, within_s, connect_within_s)
            return await self._traced(self._guard.check_url(url), call)
        except CallError:
            raise
        except Exception as error:
            raise _unexpected(url, error) from error
        except BaseException as error:
            if is_being_cancelled() or not _is_stray_cancellation(error):
                raise
            raise _unexpected(url, error) from error

    async def _traced(self, target: Target, call: "Call") -> Answer:
        # not the path: it may hold a secret
        facts = {"http.request.method": "POST", "server.address": target.host}
        of = call.headers.get(HEADER)
        with self._traces.span(Kind.CLIENT, "POST", facts, of=of) as span:
            call.headers.update(span.headers())
            try:
                answer = await self._timed(target, call)
            except CallError as error:
                span.fail(type(error).__name__, str(error))
                raise
            span.note({"http.response.status_code": answer.status})
            if answer.status >= CLIENT_ERROR:
                span.fail(str(answer.status), f"it answered {answer.status}")
            return answer

    async def _timed(self, target: Target, call: "Call") -> Answer:
        if not math.isfinite(call.within_s):  # it would disturb all timers of the event loop
            msg = f"a call cannot be limited to {call.within_s} s"
            raise ValueError(msg)
        current = Exchange(target)
        exchange.set(current)
        scope = asyncio.timeout(call.within_s)
        try:
            with _known_errors(call, scope):
                async with scope:
                    return await self._exchange(target, call)
        except CallError as error:
            error.has_connected = current.has_connected
            raise

    async def _exchange(self, target: Target, call: "Call") -> Answer:
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        timeouts = {"connect": call.connect_within_s} if call.connect_within_s else {}
        async with (
            self.connections.lend(url) as connection,
            connection.stream(
                "POST",
                url,
                headers=call.encoded(target),
                content=call.body,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            exchange.get().has_head = True
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            if (encoding := found.get("content-encoding", "").lower()) not in {"", "identity"}:
                msg = f"the answer is compressed ({encoding[:MAX_SHOWN]}); send it as it is"
                raise BrokenAnswer(msg)
            return Answer(response.status, found, await self._body(response))

    async def _body(self, response: httpcore.Response) -> bytes:
        received, parts = bytearray(), 0
        async for part in response.aiter_stream():
            received += part
            parts += 1
            if len(received) > self._limit_bytes:
                msg = f"the answer is longer than {self._limit_bytes} bytes"
                raise BrokenAnswer(msg)
            if parts > MAX_PARTS:
                msg = f"the answer comes in more than {MAX_PARTS} parts; send it in larger chunks"
                raise BrokenAnswer(msg)
        return bytes(received)


@dataclass(slots=True)
class Call:
    """What is sent, and how long that may take."""

    headers: dict[str, str]
    body: bytes
    within_s: float
    connect_within_s: float | None

    def encoded(self, target: Target) -> list[tuple[bytes, bytes]]:
        """Return the headers as they are sent."""
        sent = {
            **self.headers,
            "host": target.authority,
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"program-executor/{VERSION}",
        }
        return [(name.encode(), value.encode()) for name, value in sent.items()]


@contextmanager
def _known_errors(call: Call, scope: asyncio.Timeout) -> Generator[None]:
    """Raise what httpcore and the network raise as the errors of calls."""
    try:
        yield
    except CallError:
        raise
    except TimeoutError as error:
        if not scope.expired():  # the network's own
            msg = f"the connection broke: {words_of(error)}"
            raise NoConnection(msg) from error
        msg = f"no whole answer came within {call.within_s} s"
        raise TookTooLong(msg) from error
    except httpcore.LocalProtocolError as error:
        msg = f"the call cannot be sent: {words_of(error)}"
        raise BrokenAnswer(msg) from error
    except NONSENSE as error:
        msg = f"what came is no HTTP answer: {words_of(error)}"
        raise BrokenAnswer(msg) from error
    except BROKEN as error:
        msg = f"the connection broke: {words_of(error)}"
        raise NoConnection(msg) from error


def _unexpected(url: str, error: BaseException) -> UnexpectedCallError:
    words = f"{type(error).__name__}: {words_of(error)}"
    log.error(Event.CALL_FAILED, target=host_of(url), error_message=words, exc_info=error)
    msg = f"the call failed unexpectedly: {words}"
    return UnexpectedCallError(msg)


def _is_stray_cancellation(error: BaseException) -> bool:
    """Whether this is a cancellation, alone or among ordinary errors.

    A resolver or a driver may cancel what it was asked for, although nobody cancelled this task.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.split((asyncio.CancelledError, Exception))[1] is None
    return isinstance(error, asyncio.CancelledError)
