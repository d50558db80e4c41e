"""Streams: one connection to an endpoint, as httpcore reads and writes it.

Unlike httpcore's own streams, these are closed when a TLS handshake is cancelled, and they know
what has arrived and was not read: an endpoint that sends two answers to one call must not answer
the next call with the second.
"""

import asyncio
import select
import ssl
from typing import Any, cast

import httpcore

HIGH_WATER_BYTES = 131_072
"""What is received beyond this, unread, waits in the kernel."""


class Wire(asyncio.Protocol):
    """The bytes of one connection."""

    def __init__(self) -> None:
        """Wait to be connected."""
        self.transport: asyncio.Transport = asyncio.Transport()
        self.received = bytearray()
        self.is_over = False
        self.problem: Exception | None = None
        self._changed = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Keep what arrived."""
        self.received += data
        if len(self.received) > HIGH_WATER_BYTES:
            self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> None:
        """Note that nothing more will come; the transport closes itself."""
        self.is_over = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why it was lost."""
        self.is_over = True
        self.problem = exc
        self._changed.set()
        self._may_write.set()

    def pause_writing(self) -> None:
        """Hold up who writes."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Let them write again."""
        self._may_write.set()

    async def read(self, max_bytes: int) -> bytes:
        """Return what arrived, at most so many bytes; nothing at the end.

        Raises:
            OSError: the connection broke.
        """
        while not self.received and not self.is_over:
            self._changed.clear()
            await self._changed.wait()
        if not self.received and self.problem is not None:
            raise self.problem
        data = bytes(self.received[:max_bytes])
        del self.received[:max_bytes]
        if len(self.received) <= HIGH_WATER_BYTES and not self.transport.is_closing():
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send data.

        Raises:
            OSError: the connection broke.
        """
        try:
            self.transport.write(data)
        except RuntimeError as error:  # uvloop's, when it is closed
            if not self.transport.is_closing():
                raise
            raise ConnectionResetError from error
        await self._may_write.wait()
        if self.transport.is_closing():
            raise ConnectionResetError from self.problem

    def abort(self) -> None:
        """Close it at once."""
        self.transport.abort()

    def has_more(self) -> bool:
        """Whether it has ended, or something has arrived that was not read."""
        if self.received or self.is_over or self.transport.is_closing():
            return True
        waiting = select.poll()  # what the event loop has not seen yet
        waiting.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(waiting.poll(0))


class Stream(httpcore.AsyncNetworkStream):
    """A wire, in the terms of httpcore; time limits are the caller's."""

    def __init__(self, wire: Wire) -> None:
        """Read and write this wire."""
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read what has arrived, or wait for it.

        Raises:
            httpcore.ReadError: the connection broke.
        """
        del timeout
        try:
            return await self._wire.read(max_bytes)
        except OSError as error:
            raise httpcore.ReadError(words_of(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write.

        Raises:
            httpcore.WriteError: the connection broke.
        """
        del timeout
        try:
            await self._wire.write(buffer)
        except OSError as error:
            raise httpcore.WriteError(words_of(error)) from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Begin TLS.

        Raises:
            httpcore.ConnectError: the handshake failed.
        """
        wire, loop = self._wire, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport = await loop.start_tls(
                    wire.transport, wire, ssl_context, server_hostname=server_hostname
                )
            if transport is None:
                raise ConnectionResetError  # noqa: TRY301 - closed below
        except OSError as error:
            wire.abort()
            raise httpcore.ConnectError(words_of(error)) from error
        except BaseException:
            wire.abort()
            raise
        wire.transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks for."""
        if info == "is_readable":
            return self._wire.has_more()
        return self._wire.transport.get_extra_info(info)

    async def aclose(self) -> None:
        """Close it at once."""
        self._wire.abort()


def words_of(error: BaseException) -> str:
    """Return the words of an error, or its name."""
    return str(error) or type(error).__name__
