"""Sickness: a queue that fails although its broker answers is deleted, to be made anew.

A RabbitMQ node that dies while a quorum queue is made or deleted may come back with a queue that is
there by name only: it can be declared, but takes no message, and closes the connection of whoever
would consume it. Nothing but deleting it helps, and nothing is lost by that: its messages are
wake-ups, and the row is the truth.
"""

import asyncio

from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.rabbitmq.link import FAILURES, Link
from program_service.wakeups.rabbitmq.topology import Topology

SICK_AFTER_S = 20.0
"""Longer than the election of a leader, and than a node needs to come back."""

DELETE_TIMEOUT_S = 15.0
"""A queue without a leader is deleted after 5 s."""


class Sickness:
    """What one user of a queue knows of its health."""

    def __init__(self, link: Link, topology: Topology, queue: str) -> None:
        """Take the link that the queue is used over."""
        self._link = link
        self._topology = topology
        self._queue = queue
        self._since: float | None = None

    def is_over(self) -> None:
        """Forget it: the queue works, or the broker itself does not answer."""
        self._since = None

    async def goes_on(self) -> None:
        """Note that the queue failed while its broker answered; after a while, delete it."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
        elif now - self._since > SICK_AFTER_S:
            self._since = None
            await self._delete()

    async def _delete(self) -> None:
        log.warning(Event.QUEUE_DELETED, queue=self._queue, failing_s=SICK_AFTER_S)
        name = self._topology.queue(self._queue)
        try:
            async with asyncio.timeout(DELETE_TIMEOUT_S):
                channel = await self._link.channel()
                await channel.queue_delete(name)
                # only a queue that lives takes its files along: made anew once, it would be found
                # sick again after the next start of the node
                await self._topology.declare_queue(channel, self._queue)
                await channel.queue_delete(name)
        except FAILURES as error:
            # without a majority, for example: then it is not sick, but waits for its other nodes
            log.warning(Event.BROKER_LOST, during="delete", error_message=repr(error))
        await self._link.close()
