"""Link: a connection to RabbitMQ that is opened when it is needed, and given up when it fails.

A cluster has several addresses. Each link begins with one of them by chance, so that connections
spread, and goes on to the next whenever one fails.

Not aio-pika's robust connection: it restores consumers by itself, so that nobody can tell whether
they are there. Here whatever fails closes the link, and its user opens the next one.
"""

import asyncio
import random
import re
from collections import deque

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from program_service.telemetry import Metrics

TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
"""For the last words of a connection that is given up."""

HEARTBEAT_S = 10
"""A connection that is silent for two of these is dead, whatever the network says."""

FAILURES = (
    aiormq.AMQPError,
    aio_pika.exceptions.AMQPException,
    OSError,  # TimeoutError, too
    RuntimeError,
    StopAsyncIteration,  # aiormq's word for a broker that hangs up before its first frame
)
"""What opening, using or closing a connection may raise."""

SCHEMES = ("amqp://", "amqps://")


def addresses(text: str) -> list[str]:
    """Split what AMQP_URL says into the URLs of single nodes; a password may have commas.

    Raises:
        ValueError: one of them is no URL of RabbitMQ.
    """
    urls = re.split(r"\s*,\s*(?=amqps?://)", text.strip())
    for url in urls:
        if not url.startswith(SCHEMES):
            msg = "it must begin with amqp:// or amqps://"
            raise ValueError(msg)
    return urls


class Link:
    """One connection at a time."""

    def __init__(self, url: str, metrics: Metrics, *, purpose: str) -> None:
        """Connect to one of these addresses, when needed; RabbitMQ's console shows `purpose`."""
        query = {"heartbeat": str(HEARTBEAT_S), "name": f"program-executor {purpose}"}
        urls = [URL(each).update_query(query) for each in addresses(url)]
        self._urls = deque(random.sample(urls, len(urls)))
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
            self._connection = await self._connect()
            if self._was_open:
                self._metrics.reconnects.inc()
            self._was_open = True
        return self._connection

    async def _connect(self) -> AbstractConnection:
        """Try one address after the other; one that does not answer takes all the time there is."""
        for _ in range(len(self._urls) - 1):
            try:
                return await aio_pika.connect(self._next_url())
            except FAILURES:
                continue
        return await aio_pika.connect(self._next_url())

    def _next_url(self) -> URL:
        # turned before it is tried: whatever becomes of the attempt, the next begins elsewhere
        self._urls.rotate(-1)
        return self._urls[-1]

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
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()
        except FAILURES:
            pass  # it is gone already
