"""Control: what all workers are told, such as that a program was cancelled.

It makes things happen sooner, and nothing depends on it: a worker learns of a cancel from its own
row at the next renewal of the lease. So nobody waits for the broker to announce something, and what
cannot be sent for long is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Announcement
from program_service.wakeups.rabbitmq.driver.connection import Channel, Message
from program_service.wakeups.rabbitmq.driver.errors import (
    AccessRefused,
    ArgumentsDiffer,
    BrokerError,
)
from program_service.wakeups.rabbitmq.link import Link
from program_service.wakeups.rabbitmq.messages import (
    Unparsable,
    read_announcement,
    write_announcement,
)
from program_service.wakeups.rabbitmq.publisher import SAID_ELSEWHERE
from program_service.wakeups.rabbitmq.topology import Topology

MAX_WAITING = 1_000
"""Announcements that wait for the broker; the oldest are dropped."""

STALE_AFTER_S = 30.0
"""By then every worker has renewed its leases, and knows what was cancelled."""

MAX_HEARD = 10_000
"""Announcements that were received and not read yet; more are dropped: nothing depends on them."""

BATCH = 100
"""Announcements that are sent, or passed on, before anything else gets its turn."""

PAUSE_S = 1.0


class Outbox:
    """Announcements that wait to be sent, and the loop that sends them."""

    name = "announcements"

    def __init__(self, link: Link, topology: Topology, metrics: Metrics) -> None:
        """Send over this link while `run` runs."""
        self._link = link
        self._topology = topology
        self._metrics = metrics
        self._waiting: deque[tuple[float, Announcement]] = deque()
        self._arrived = asyncio.Event()
        self._channel: Channel | None = None
        self._dropped = 0

    def put(self, announcement: Announcement) -> None:
        """Have an announcement sent soon, perhaps in place of an older one."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append((_now() + STALE_AFTER_S, announcement))
        self._arrived.set()

    async def run(self) -> None:
        """Send what waits, and try again while that fails."""
        while True:
            self._arrived.clear()
            while self._waiting:
                await self._send_some()
            self._report_dropped()
            await self._arrived.wait()

    async def _send_some(self) -> None:
        while self._waiting and self._waiting[0][0] < _now():
            self._waiting.popleft()
            self._dropped += 1
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not batch:
            return
        failures = await self._attempt([announcement for _, announcement in batch])
        unsent = [
            each for each, failure in zip(batch, failures, strict=True) if failure is not None
        ]
        self._metrics.announcements.labels("sent").inc(len(batch) - len(unsent))
        if unsent:
            self._waiting.extendleft(reversed(unsent))
            self._report_dropped()
            await asyncio.sleep(max(PAUSE_S, self._link.pause_s))

    async def _attempt(self, batch: Sequence[Announcement]) -> Sequence[BrokerError | None]:
        """Send announcements and return what went wrong with each."""
        bodies = [write_announcement(announcement) for announcement in batch]
        try:
            channel = await self._open()
            failures = await channel.publish(bodies, key="", exchange=self._topology.control)
        except BrokerError as error:
            failures = [error] * len(batch)
        if any(failures):
            given_up, self._channel = self._channel, None
            if given_up is not None:
                await given_up.close()
        return failures

    async def _open(self) -> Channel:
        self._link.require_unblocked()
        if self._channel is None or self._channel.is_closed:
            self._channel = await control_channel(self._link, self._topology, confirms=True)
        return self._channel

    def _report_dropped(self) -> None:
        if self._dropped:
            self._metrics.announcements.labels("dropped").inc(self._dropped)
            log.warning(Event.ANNOUNCEMENTS_DROPPED, announcements=self._dropped)
            self._dropped = 0


class Listener:
    """A loop that hears what all are told, over a queue of this process alone."""

    name = "control"

    def __init__(
        self,
        link: Link,
        topology: Topology,
        metrics: Metrics,
        hear: Callable[[Announcement], None],
    ) -> None:
        """Listen over this link while `run` runs, and pass on what is said."""
        self._link = link
        self._metrics = metrics
        self._topology = topology
        self._hear = hear
        self._said: deque[Message] = deque()
        self._stirred = asyncio.Event()
        self._has_ended = False

    async def run(self) -> None:
        """Listen, again after each failure."""
        while True:
            channel = None
            try:
                channel = await self._listen()
                await self._pass_on()
            except BrokerError as error:
                # cancels are noticed at the next renewal meanwhile
                if not isinstance(error, SAID_ELSEWHERE):
                    log.warning(Event.BROKER_LOST, during="control", error_message=str(error))
            finally:
                if channel is not None:
                    await channel.close()
            await asyncio.sleep(max(PAUSE_S, self._link.pause_s))

    async def _listen(self) -> Channel:
        self._has_ended = False
        channel = await control_channel(self._link, self._topology)
        channel.ended = self._end
        name = self._topology.ears()
        await channel.declare_queue(name, exclusive=True, auto_delete=True)
        await channel.bind(name, self._topology.control)
        await channel.consume(name, self._receive, no_ack=True)
        return channel

    def _end(self) -> None:
        self._has_ended = True
        self._stirred.set()

    def _receive(self, message: Message) -> None:
        if len(self._said) < MAX_HEARD:
            self._said.append(message)
            self._stirred.set()
        else:
            self._metrics.announcements.labels("not_heard").inc()

    async def _pass_on(self) -> None:
        """Pass on what is heard, until the channel has ended."""
        while not self._has_ended:
            await self._stirred.wait()
            self._stirred.clear()
            while self._said:
                for _ in range(min(BATCH, len(self._said))):
                    self._pass_on_one(self._said.popleft().body)
                await asyncio.sleep(0)

    def _pass_on_one(self, body: bytes) -> None:
        try:
            self._hear(read_announcement(body))
        except Unparsable as error:
            log.warning(Event.WAKEUP_UNPARSABLE, queue="control", error_message=str(error))


async def control_channel(link: Link, topology: Topology, *, confirms: bool = False) -> Channel:
    """Open a channel, and have the exchange there that all workers listen to.

    Raises:
        BrokerError: that failed.
    """
    channel = await link.channel(confirms=confirms)
    try:
        await channel.declare_exchange(topology.control, exchange_type="fanout", durable=True)
    except (ArgumentsDiffer, AccessRefused):
        # somebody made it for us, perhaps of another kind: with our empty key that serves, too
        channel = await link.channel(confirms=confirms)
        await channel.declare_exchange(topology.control, passive=True)
    return channel


def _now() -> float:
    return asyncio.get_running_loop().time()
