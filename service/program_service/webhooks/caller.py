"""Caller: one call, within one deadline, to an address that was checked.

httpcore knows no redirects, no proxies of the environment and no compression; its network backend
is ours, so no name is resolved out of the guard's sight (docs/adr/0011).
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

import httpcore

from program_service.telemetry import VERSION
from program_service.tracing.spans import HEADER, Kind, Traces
from program_service.webhooks.errors import BrokenAnswer, CallError, NoConnection, TookTooLong
from program_service.webhooks.guard import Address, Guard, Target

LIMIT_BYTES = 1_048_576
CLIENT_ERROR = 400
MAX_IDLE, IDLE_S = 500, 15.0
"""Connections to one host that are kept for the next call, and for how long."""

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[Address]]]

BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, OSError)
NONSENSE = (httpcore.ProtocolError, httpcore.UnsupportedProtocol, UnicodeError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def resolve(host: str, port: int) -> list[Address]:
    """Return every address of a name.

    Raises:
        OSError: it has none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


_target: ContextVar[Target] = ContextVar("target")


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, guard: Guard, resolver: Resolver) -> None:
        """Take the rules, and who resolves names."""
        self._guard = guard
        self._resolver = resolver
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that lets us, if all of them may be called.

        Raises:
            Forbidden: one of them may not.
            NoConnection: none of them answers.
        """
        target = _target.get()
        addresses = await self._addresses(target, port)
        for address in addresses:
            self._guard.check_address(address, target)
        problem: Exception = OSError("it has no address")
        for address in addresses:
            try:
                stream = await self._plain.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
                continue
            await self._check_peer(stream, target)
            return stream
        msg = f"{host} does not let us connect: {_words(problem)}"
        raise NoConnection(msg) from problem

    async def _addresses(self, target: Target, port: int) -> list[Address]:
        if target.address is not None:
            return [target.address]
        try:
            return list(dict.fromkeys(await self._resolver(target.host, port)))
        except OSError as error:
            msg = f"{target.host} has no address: {error}"
            raise NoConnection(msg) from error

    async def _check_peer(self, stream: httpcore.AsyncNetworkStream, target: Target) -> None:
        peer = stream.get_extra_info("server_addr")
        try:
            if peer is None:  # it hung up at once
                msg = f"{target.host} broke the connection as soon as it stood"
                raise NoConnection(msg)  # noqa: TRY301 - the stream is closed below
            self._guard.check_address(ipaddress.ip_address(str(peer[0])), target)
        except BaseException:
            await stream.aclose()
            raise

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nothing is called by a path.

        Raises:
            NoConnection: always.
        """
        del path, timeout, socket_options
        msg = "files are not called"
        raise NoConnection(msg)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


class Caller:
    """Makes calls over connections that are kept for the next one."""

    def __init__(  # noqa: PLR0913 - what tests set is kept apart
        self,
        guard: Guard,
        *,
        limit_bytes: int = LIMIT_BYTES,
        idle_s: float = IDLE_S,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Take the rules, how long an answer may be, and how long a connection waits for a call."""
        self._guard = guard
        self._limit_bytes = limit_bytes
        self._idle_s = idle_s
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._backend = GuardedBackend(guard, resolver)
        self._traces = traces or Traces()
        self._idle: dict[tuple[bytes, bytes, int | None], list[httpcore.AsyncHTTPConnection]] = {}
        self._closing_old: asyncio.Task[None] | None = None
        self._is_closed = False

    async def aclose(self) -> None:
        """Close all connections that are kept; those in use close when their call is over."""
        self._is_closed = True
        if self._closing_old is not None:
            self._closing_old.cancel()
        await self._close_idle(lambda _connection: True)

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, within_s: float
    ) -> Answer:
        """Post a JSON body and return the whole answer.

        Raises:
            CallError: no answer came that could be taken, within that time.
        """
        target = self._guard.check_url(url)
        # not the path: it may hold a secret
        facts = {"http.request.method": "POST", "server.address": target.host}
        with self._traces.span(Kind.CLIENT, "POST", facts, of=headers.get(HEADER)) as span:
            try:
                answer = await self._post(target, {**headers, **span.headers()}, body, within_s)
            except CallError as error:
                span.fail(type(error).__name__, str(error))
                raise
            span.note({"http.response.status_code": answer.status})
            if answer.status >= CLIENT_ERROR:
                span.fail(str(answer.status), f"it answered {answer.status}")
            return answer

    async def _post(
        self, target: Target, headers: Mapping[str, str], body: bytes, within_s: float
    ) -> Answer:
        _target.set(target)
        sent = {
            **headers,
            "host": target.authority,
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"program-executor/{VERSION}",
        }
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(target, sent, body)
        except CallError:
            raise
        except TimeoutError as error:
            msg = f"no whole answer came within {within_s} s"
            raise TookTooLong(msg) from error
        except NONSENSE as error:
            msg = f"what came is no HTTP answer: {_words(error)}"
            raise BrokenAnswer(msg) from error
        except BROKEN as error:
            msg = f"the connection broke: {_words(error)}"
            raise NoConnection(msg) from error

    @asynccontextmanager
    async def _connection(self, url: httpcore.URL) -> AsyncGenerator[httpcore.AsyncHTTPConnection]:
        """Lend the connection that was used last, or a new one.

        Not httpcore's own pool: with 100 calls in flight it looks at all of them for each call.
        """
        key = (url.scheme, url.host, url.port)
        connection = None
        while connection is None and (idle := self._idle.get(key)):
            connection = idle.pop()
            if connection.has_expired():
                await connection.aclose()
                connection = None
        connection = connection or httpcore.AsyncHTTPConnection(
            url.origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._idle_s,
            network_backend=self._backend,
        )
        try:
            yield connection
        finally:
            idle = self._idle.setdefault(key, [])
            if connection.is_available() and len(idle) < MAX_IDLE and not self._is_closed:
                idle.append(connection)
                if self._closing_old is None:
                    self._closing_old = asyncio.create_task(self._close_old())
            else:
                await connection.aclose()

    async def _close_old(self) -> None:
        """Close what nobody used for a while, also to hosts that are not called again."""
        while self._idle:
            await asyncio.sleep(self._idle_s)
            await self._close_idle(httpcore.AsyncHTTPConnection.has_expired)
        self._closing_old = None

    async def _close_idle(self, is_over: Callable[[httpcore.AsyncHTTPConnection], bool]) -> None:
        over = []
        for key, idle in list(self._idle.items()):
            over += [each for each in idle if is_over(each)]
            idle[:] = [each for each in idle if each not in over]
            if not idle:
                del self._idle[key]
        for connection in over:
            await connection.aclose()

    async def _exchange(self, target: Target, headers: dict[str, str], body: bytes) -> Answer:
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        async with (
            self._connection(url) as connection,
            connection.stream("POST", url, headers=encoded, content=body) as response,
        ):
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            if found.get("content-encoding", "").lower() not in {"", "identity"}:
                msg = f"the answer is compressed ({found['content-encoding']}); send it as it is"
                raise BrokenAnswer(msg)
            received = bytearray()
            async for part in response.aiter_stream():
                received += part
                if len(received) > self._limit_bytes:
                    msg = f"the answer is longer than {self._limit_bytes} bytes"
                    raise BrokenAnswer(msg)
            return Answer(response.status, found, bytes(received))
