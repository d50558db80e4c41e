"""Link: a connection to RabbitMQ that is opened when it is needed, and given up when it fails.

A cluster has several addresses. Each link begins with one of them by chance, so that connections
spread, and goes on to the next whenever one fails.

RabbitMQ may limit the number of connections. Without a connection to publish over, nobody is woken
at all, so everything else leaves the last one to publishers: see `leaves_one`.
"""

import asyncio
import re
import time
from collections import deque
from contextlib import suppress

from yarl import URL

from program_service.bookkeeping.retry import draw
from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.tls_files import require_authorities, require_pair
from program_service.wakeups.rabbitmq.driver.connection import (
    Channel,
    Connection,
    open_connection,
)
from program_service.wakeups.rabbitmq.driver.errors import (
    Blocked,
    BrokerError,
    ConnectionLost,
    NoAnswer,
    NoRoom,
)
from program_service.wakeups.rabbitmq.pace import Pace

HEARTBEAT_S = 10
"""A connection that is silent for three of these is dead, whatever the network says."""

STEADY_S = 5.0
"""A connection that ends sooner has never worked."""

SCHEMES = ("amqp://", "amqps://")

TLS_OPTIONS = frozenset({"cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl"})
OPTIONS = TLS_OPTIONS | {"auth", "timeout", "heartbeat", "name"}
"""What aiormq understands behind the `?` of a URL."""


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


def require_usable(text: str) -> None:
    """Require URLs of RabbitMQ whose options can be meant, and whose files are there.

    Raises:
        ValueError: one of them is none.
    """
    for url in map(URL, addresses(text)):
        if not url.host:
            msg = "it names no host; write amqp://user:password@host/vhost"
            raise ValueError(msg)
        if unknown := sorted(url.query.keys() - OPTIONS):
            msg = (
                f"there is no {', '.join(f'?{name}=' for name in unknown)}; there are"
                f" {', '.join(sorted(OPTIONS))}"
            )
            raise ValueError(msg)
        if (of_tls := sorted(url.query.keys() & TLS_OPTIONS)) and url.scheme != "amqps":
            msg = f"?{of_tls[0]}= needs amqps:// instead of amqp://"
            raise ValueError(msg)
        _require_files(dict(url.query))


def _require_files(options: dict[str, str]) -> None:
    if file := options.get("cafile"):
        require_authorities("cafile", file)
    if file := options.get("certfile"):
        key = options.get("keyfile")
        require_pair(("certfile", file), ("keyfile", key) if key else None, "")
    elif "keyfile" in options:
        msg = "?keyfile= needs ?certfile= beside it"
        raise ValueError(msg)


class Nodes:
    """The nodes of a broker, each tried in turn."""

    def __init__(self, text: str, *, purpose: str) -> None:
        """Take what AMQP_URL says; RabbitMQ's console shows `purpose`.

        Raises:
            ValueError: it is no list of URLs of RabbitMQ.
        """
        query = {"heartbeat": str(HEARTBEAT_S), "name": f"program-executor {purpose}"}
        urls = [URL(each).update_query(query) for each in addresses(text)]
        self._urls = deque(sorted(urls, key=lambda _url: draw()))

    async def connect(self) -> Connection:
        """Open a connection to the first node that takes it.

        Raises:
            BrokerError: none does, or one does not answer: then the next attempt begins elsewhere.
        """
        for _ in range(len(self._urls) - 1):
            with suppress(ConnectionLost):
                return await open_connection(self._next())
        return await open_connection(self._next())

    def _next(self) -> URL:
        # turned before it is tried: whatever becomes of the attempt, the next begins elsewhere
        self._urls.rotate(-1)
        return self._urls[-1]


class Link:
    """One connection at a time, for all who share the link."""

    def __init__(
        self, nodes: Nodes, metrics: Metrics, pace: Pace, *, leaves_one: bool = False
    ) -> None:
        """Connect to one of these nodes, when needed and when the pace allows it."""
        self._nodes = nodes
        self._metrics = metrics
        self._pace = pace
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._was_open = False
        self._lost_at: float | None = None
        self._told_blocked: str | None = None
        self.leaves_one = leaves_one
        """Whether it does without, rather than take the last connection that RabbitMQ allows."""

    @property
    def pause_s(self) -> float:
        """How long it will not connect."""
        return self._pace.pause_s

    @property
    def lost_at(self) -> float | None:
        """When the connection was lost or could not be opened, unless there is one again."""
        if self._connection is not None and self._connection.ended_at is not None:
            return self._connection.ended_at
        return self._lost_at

    @property
    def blocked(self) -> str | None:
        """Why RabbitMQ takes no messages over it, if it does not."""
        return self._connection.blocked if self._connection else None

    def require_unblocked(self) -> None:
        """Go on, unless RabbitMQ takes no messages.

        Raises:
            Blocked: it does not.
        """
        reason = self.blocked
        if reason != self._told_blocked:
            self._told_blocked = reason
            self._tell_blocked(reason)
        if reason:
            msg = f"RabbitMQ takes no messages: {reason}"
            raise Blocked(msg)

    def _tell_blocked(self, reason: str | None) -> None:
        if reason:
            log.warning(Event.BROKER_BLOCKED, error_message=reason)
        else:
            log.info(Event.BROKER_UNBLOCKED)

    async def channel(self, *, confirms: bool = False) -> Channel:
        """Open a channel, and the connection if there is none.

        Raises:
            Paused: an attempt failed a moment ago.
            NoRoom: RabbitMQ allows one more connection at most.
            Blocked: it takes no messages.
            ConnectionLost: it cannot be reached.
        """
        connection = await self._connected()
        self.require_unblocked()  # nor does it answer anything
        try:
            return await connection.channel(confirms=confirms)
        except BrokerError as error:
            await self._drop(connection, str(error))
            # without a code: no queue is to blame
            raise ConnectionLost(str(error)) from error

    async def give_up(self, error: NoAnswer) -> None:
        """Give the connection up that did not answer, unless that has happened already."""
        connection = self._connection
        if connection is not None and connection.is_over(error.asked):
            await self._drop(connection, str(error))

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._connection is not None and self._connection.is_closed:
                await self._drop(self._connection, "the connection was lost")
            if self._connection is None:
                self._pace.require()
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        try:
            connection = await self._nodes.connect()
            if self.leaves_one:
                await self._require_room(connection)
        except BrokerError as error:
            self._lost_at = time.monotonic()
            self._pace.failed(at=self._lost_at)
            log.warning(Event.BROKER_LOST, during="connect", error_message=str(error))
            if isinstance(error, NoRoom):
                raise
            raise ConnectionLost(str(error)) from error
        if self._was_open:
            self._metrics.reconnects.inc()
        self._was_open, self._lost_at = True, None
        return connection

    async def _require_room(self, connection: Connection) -> None:
        try:
            one_more = await self._nodes.connect()
        except BrokerError as error:
            await connection.close()
            msg = f"the last connection is left to publishers: {error}"
            raise NoRoom(msg) from error
        await one_more.close()

    async def _drop(self, connection: Connection, why: str) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        self._lost_at = connection.ended_at or time.monotonic()
        log.warning(Event.BROKER_LOST, during="use", error_message=why)
        if connection.lived_s < STEADY_S:
            self._pace.failed(at=self._lost_at)
        else:
            self._pace.lost(at=self._lost_at)
        await connection.close()
