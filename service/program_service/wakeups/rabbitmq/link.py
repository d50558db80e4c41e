"""Link: a connection to RabbitMQ that is opened when it is needed, and given up when it fails.

Not aio-pika's robust connection: it restores consumers by itself, so that nobody can tell whether
they are there. Here whatever fails closes the link, and its user opens the next one.
"""

import asyncio

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from program_service.telemetry import Metrics

TIMEOUT_S = 5.0
HEARTBEAT_S = 10
"""A connection that is silent for two of these is dead, whatever the network says."""

FAILURES = (aiormq.AMQPError, aio_pika.exceptions.AMQPException, OSError, RuntimeError)
"""What opening, using or closing a connection may raise; OSError includes TimeoutError."""


class Link:
    """One connection at a time."""

    def __init__(self, url: str, metrics: Metrics, *, purpose: str) -> None:
        """Connect to this address, when it is needed; `purpose` is shown in RabbitMQ's console."""
        self._url = URL(url).update_query(heartbeat=HEARTBEAT_S, name=f"program-executor {purpose}")
        self._metrics = metrics
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._was_open = False

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel, and the connection if there is none.

        Raises:
            OSError: the broker does not answer; or another of `FAILURES`.
        """
        async with self._opening:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    connection = await self._connected()
                    # a returned message must fail its publish: it was not routed to any queue
                    return await connection.channel(
                        publisher_confirms=confirms, on_return_raises=confirms
                    )
            except FAILURES:
                # a connection whose transport died may still say that it is open
                await self.close()
                raise

    async def _connected(self) -> AbstractConnection:
        if self._connection is None or self._connection.is_closed:
            self._connection = await aio_pika.connect(self._url)
            if self._was_open:
                self._metrics.reconnects.inc()
            self._was_open = True
        return self._connection

    async def discard(self, channel: AbstractChannel | None) -> None:
        """Close a channel; if the broker does not answer to that, give the connection up."""
        if channel is None or channel.is_closed:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await channel.close()
        except FAILURES:
            await self.close()

    async def close(self) -> None:
        """Give the connection up, however it is."""
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await connection.close()
        except FAILURES:
            pass  # it is gone already
