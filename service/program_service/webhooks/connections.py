"""Connections: those that are kept for the next call to the same host."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpcore

from program_service.loops.turns import take_turns

Key: TypeAlias = tuple[bytes, bytes, int | None]
"""Scheme, host and port."""

MAX_IDLE, IDLE_S = 500, 15.0
"""Connections that are kept for the next call, and for how long."""


class Connections:
    """Idle connections.

    Not httpcore's own pool: with 100 calls in flight it looks at all of them for each call.
    """

    name = "connections"

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        *,
        idle_s: float = IDLE_S,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Take who connects, and for how long a connection is kept."""
        self._backend = backend
        self._idle_s = idle_s
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._idle: dict[Key, list[httpcore.AsyncHTTPConnection]] = {}
        self._count = 0
        self._is_closed = False

    async def run(self) -> None:
        """Close what nobody used for a while, also to hosts that are not called again."""
        await take_turns(self._close_old, every_s=self._idle_s)

    async def aclose(self) -> None:
        """Close what is kept; what is lent is closed when it comes back."""
        self._is_closed = True
        await self._close(lambda _connection: True)

    @asynccontextmanager
    async def lend(self, url: httpcore.URL) -> AsyncGenerator[httpcore.AsyncHTTPConnection]:
        """Lend the connection that was used last, or a new one."""
        key = (url.scheme, url.host, url.port)
        connection = await self._newest(key) or httpcore.AsyncHTTPConnection(
            url.origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._idle_s,
            network_backend=self._backend,
        )
        try:
            yield connection
        except BaseException:
            await connection.aclose()
            raise
        if self._count < MAX_IDLE and not self._is_closed and _is_clean(connection):
            self._idle.setdefault(key, []).append(connection)
            self._count += 1
        else:
            await connection.aclose()

    async def _newest(self, key: Key) -> httpcore.AsyncHTTPConnection | None:
        while idle := self._idle.get(key):
            connection = idle.pop()
            self._count -= 1
            if not _has_expired(connection):
                return connection
            await connection.aclose()
        return None

    async def _close_old(self) -> None:
        await self._close(_has_expired)

    async def _close(self, is_over: Callable[[httpcore.AsyncHTTPConnection], bool]) -> None:
        for key, idle in list(self._idle.items()):
            over = [each for each in idle if is_over(each)]
            idle[:] = [each for each in idle if each not in over]
            self._count -= len(over)
            if not idle:
                del self._idle[key]
            for connection in over:
                await connection.aclose()


def _has_expired(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Whether it is too old, or the other end has closed it, or nobody can tell."""
    try:
        return connection.has_expired()
    except (OSError, ValueError):  # its socket is gone
        return True


def _is_clean(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Whether the connection is ready for another call, with nothing left of the last answer.

    An endpoint may send a second answer that nobody asked for. If it came together with the first,
    h11 keeps it, and would read it as the answer to the next call: another program's.
    """
    if not connection.is_available() or _has_expired(connection):
        return False
    state = connection._connection._h11_state  # type: ignore[union-attr]  # noqa: SLF001 - no other way
    trailing, _ = state.trailing_data
    return not trailing
