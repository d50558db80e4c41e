"""Declarations: have queues there, and use those that exist as they are.

A queue that somebody made with other arguments than ours, or that we may not declare, is no fault
of the queue: it takes and gives wake-ups all the same. It is used, and named once in the log.
"""

from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.rabbitmq.driver.connection import Channel
from program_service.wakeups.rabbitmq.driver.errors import (
    AccessRefused,
    ArgumentsDiffer,
    QueueMissing,
    Refused,
)
from program_service.wakeups.rabbitmq.link import Link
from program_service.wakeups.rabbitmq.topology import Topology


class Declarations:
    """Declare the queues of one deployment; shared by all that a process does with them."""

    def __init__(self, topology: Topology) -> None:
        """Begin without having seen any queue."""
        self.topology = topology
        self._as_they_are: set[str] = set()

    def is_ours(self, queue: str) -> bool:
        """Whether a queue has the arguments that we give it, as far as we know."""
        return self.topology.queue(queue) not in self._as_they_are

    async def channel_to(self, link: Link, queue: str, *, confirms: bool = False) -> Channel:
        """Open a channel, and have a queue there, and the one for its dead letters.

        Raises:
            BrokerError: that failed; `BadName`: no queue can have this name.
        """
        name = self.topology.queue(queue)
        channel = await link.channel(confirms=confirms)
        for each in (self.topology.dead, name):
            if each not in self._as_they_are:
                try:
                    await self._declare(channel, each)
                except (ArgumentsDiffer, AccessRefused) as error:
                    # the refusal has closed the channel
                    channel = await link.channel(confirms=confirms)
                    await self._use_as_it_is(channel, each, error)
            else:
                await self._ask(channel, each)
        return channel

    async def _declare(self, channel: Channel, name: str) -> None:
        arguments = self.topology.arguments(name)
        await channel.declare_queue(name, durable=True, arguments=arguments)

    async def _use_as_it_is(self, channel: Channel, name: str, refusal: Refused) -> None:
        try:
            await channel.declare_queue(name, passive=True)
        except QueueMissing:
            raise refusal from None  # we may not make it
        if name in self._as_they_are:
            return  # somebody else has noticed it meanwhile
        self._as_they_are.add(name)
        log.warning(Event.QUEUE_DIFFERS, queue=name, error_message=str(refusal), text=REMEDY)

    async def _ask(self, channel: Channel, name: str) -> None:
        try:
            await channel.declare_queue(name, passive=True)
        except Refused:
            self._as_they_are.discard(name)  # it has changed: the next attempt declares it
            raise


REMEDY = (
    "it is used as it is; to have it as documented, stop its users and delete it: it is made again"
)
