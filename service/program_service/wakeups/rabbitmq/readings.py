"""Readings: how many wake-ups wait in queues, asked over a connection of its own.

A queue that does not answer hangs the channel that asked, and no more: nothing that is being
published or consumed waits for a reading.
"""

import asyncio
from collections.abc import Sequence

from program_service.wakeups.rabbitmq.driver.connection import Connection
from program_service.wakeups.rabbitmq.driver.errors import BrokerError, QueueMissing
from program_service.wakeups.rabbitmq.link import Nodes
from program_service.wakeups.rabbitmq.topology import Topology

CHANNELS = 100
"""Queues that are asked for at a time."""

Depth = int | BrokerError


class DepthReader:
    """Count what waits in queues."""

    def __init__(self, nodes: Nodes, topology: Topology) -> None:
        """Connect for each reading anew: an idle connection may be the last that is allowed."""
        self._nodes = nodes
        self._topology = topology

    async def read(self, queues: Sequence[str]) -> dict[str, Depth]:
        """Return {queue: its depth, or why it cannot be told}.

        Raises:
            BrokerError: RabbitMQ does not answer.
        """
        connection = await self._nodes.connect()
        try:
            depths: dict[str, Depth] = {}
            for first in range(0, len(queues), CHANNELS):
                some = queues[first : first + CHANNELS]
                found = await asyncio.gather(*(self._depth(connection, each) for each in some))
                depths |= zip(some, found, strict=True)
            return depths
        finally:
            await connection.close()

    async def _depth(self, connection: Connection, queue: str) -> Depth:
        try:
            # a channel of its own: asking for a queue that is not there closes it
            channel = await connection.channel()
            found = await channel.declare_queue(self._topology.queue(queue), passive=True)
        except QueueMissing:
            return 0  # a queue that is not there holds nothing
        except BrokerError as error:
            return error
        await channel.close()
        return found.messages
