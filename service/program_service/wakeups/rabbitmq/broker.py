"""Driver: RabbitMQ as a `Broker`.

A process has one connection that it publishes over and one that it consumes over, a third for a
moment when it counts what waits, and one more for a queue that fails.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from program_service.telemetry import Metrics
from program_service.wakeups.broker import (
    Announcement,
    BrokerReading,
    Delivery,
    KnownTrouble,
    Wakeup,
)
from program_service.wakeups.rabbitmq.consumer import Consumer
from program_service.wakeups.rabbitmq.control import Listener, Outbox
from program_service.wakeups.rabbitmq.declarations import Declarations
from program_service.wakeups.rabbitmq.driver.errors import BrokerError
from program_service.wakeups.rabbitmq.link import Link, Nodes
from program_service.wakeups.rabbitmq.pace import Pace
from program_service.wakeups.rabbitmq.publisher import Publisher
from program_service.wakeups.rabbitmq.publishers import Publishers
from program_service.wakeups.rabbitmq.readings import DepthReader
from program_service.wakeups.rabbitmq.recovery import Recovery
from program_service.wakeups.rabbitmq.route import Route
from program_service.wakeups.rabbitmq.sickness import Examiner
from program_service.wakeups.rabbitmq.subscription import RabbitSubscription
from program_service.wakeups.rabbitmq.topology import PROBE_ARGUMENTS, Topology
from program_service.wakeups.rabbitmq.troubles import Troubles

if TYPE_CHECKING:
    from program_service.loops.supervisor import Loop

OWN_PAUSE_S = 1.0
"""A queue's own connection is paced by whoever uses it, and does not slow others down."""


class RabbitBroker:
    """Wake-ups over RabbitMQ."""

    def __init__(self, url: str, *, queue_name: str, metrics: Metrics) -> None:
        """Take the address; nothing is connected yet.

        Raises:
            ValueError: it is no URL of RabbitMQ.
        """
        self._url = url
        self._metrics = metrics
        self._topology = Topology(queue_name)
        self._declarations = Declarations(self._topology)
        self._troubles = Troubles()
        pace = Pace()
        self._publishing = self._link("publisher", pace)
        self._consuming = self._link("consumer", pace, leaves_one=True)
        self._readings = DepthReader(Nodes(url, purpose="readings"), self._topology)
        self._publishers = Publishers(self._publisher)
        self._outbox = Outbox(self._publishing, self._topology, metrics)
        self._recovery = Recovery()
        self.loops: Sequence[Loop] = (self._outbox, self._recovery)

    async def reach(self) -> None:
        """Open a connection of its own and close it, without a word in the log.

        Raises:
            BrokerError: that failed; with `NotAdmitted` it is not worth a wait.
        """
        await (await Nodes(self._url, purpose="contact").connect()).close()

    async def try_permissions(self) -> None:
        """Do once all that is done with queues, with one that is made for it.

        Raises:
            BrokerError: RabbitMQ does not let us, or does not answer.
        """
        connection = await Nodes(self._url, purpose="contact").connect()
        try:
            channel = await connection.channel(confirms=True)
            name = self._topology.probe()
            await channel.declare_queue(name, durable=True, arguments=PROBE_ARGUMENTS)
            (refusal,) = await channel.publish([b"probe"], key=name)
            await channel.peek(name)
            await (await connection.channel()).delete_queue(name)
        finally:
            await connection.close()
        if refusal is not None:
            raise refusal

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(
            self._publishing.close(),
            self._consuming.close(),
            self._publishers.close(),
        )

    @property
    def trouble(self) -> KnownTrouble | None:
        """What is wrong, as far as publishers know."""
        if reason := self._publishing.blocked:
            return KnownTrouble(f"blocked: {alarm(reason)}", math.inf)
        lost_at = self._publishing.lost_at
        return None if lost_at is None else KnownTrouble("down", lost_at)

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it."""
        return await self._publishers.publish(wakeups)

    def subscribe(self, queues: Sequence[str], *, prefetch: int) -> RabbitSubscription:
        """Receive the wake-ups of these queues, while the loops of the subscription run."""
        # whoever consumes can do without publishing: then the sweepers wake
        self._publishing.leaves_one = True

        def consume(queue: str, arrive: Callable[[Delivery], None]) -> Consumer:
            return Consumer(
                self._route(queue, "consume", self._consuming),
                self._declarations,
                metrics=self._metrics,
                prefetch=prefetch,
                arrive=arrive,
            )

        return RabbitSubscription(queues, consume)

    async def announce(self, announcement: Announcement) -> None:
        """Tell all workers soon, if the broker is there."""
        self._outbox.put(announcement)

    def listener(self, hear: Callable[[Announcement], None]) -> Listener:
        """Make a loop that calls `hear` for each announcement."""
        return Listener(self._consuming, self._topology, self._metrics, hear)

    async def read(self, queues: Sequence[str]) -> BrokerReading:
        """Look at the broker and at these queues, over a connection of its own."""
        troubles = self._troubles.texts
        blocked = self._publishing.blocked
        trouble = f"blocked: {alarm(blocked)}" if blocked else None
        try:
            found = await self._readings.read(queues)
        except BrokerError as error:
            return BrokerReading({}, trouble or "down", str(error), troubles)
        depths = {queue: depth for queue, depth in found.items() if isinstance(depth, int)}
        failed = {queue: str(error) for queue, error in found.items() if queue not in depths}
        return BrokerReading(depths, trouble, blocked or "", {**failed, **troubles})

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait in a queue; None when the broker does not answer."""
        return (await self.read([queue])).depths.get(queue)

    def _publisher(self, queue: str) -> Publisher:
        return Publisher(
            self._route(queue, "publish", self._publishing),
            self._declarations,
            fails=self._recovery.take,
        )

    def _route(self, queue: str, use: str, shared: Link) -> Route:
        nodes = Nodes(self._url, purpose="examiner")
        return Route(
            queue,
            use,
            shared,
            lambda: self._link(f"{use} {queue}", Pace(longest_s=OWN_PAUSE_S), leaves_one=True),
            examiner=Examiner(nodes, self._declarations, self._troubles),
        )

    def _link(self, purpose: str, pace: Pace, *, leaves_one: bool = False) -> Link:
        nodes = Nodes(self._url, purpose=purpose)
        return Link(nodes, self._metrics, pace, leaves_one=leaves_one)


def alarm(reason: str) -> str:
    """Name the alarm by what RabbitMQ says, such as `low on memory`."""
    for what in ("memory", "disk"):
        if what in reason:
            return f"{what} alarm"
    return reason
