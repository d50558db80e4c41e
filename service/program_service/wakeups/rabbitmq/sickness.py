"""Sickness: a queue that fails although its broker answers is examined, and perhaps made again.

A RabbitMQ node that dies while a quorum queue is made or deleted may come back with a queue that is
there by name only: it can be declared, but refuses every message, and closes the connection of
whoever wants one. Another kind answers nothing at all. Nothing but deleting such a queue helps, and
nothing is lost by that: its messages are wake-ups, and the row is the truth.

From afar other faults look alike: a memory alarm, a full queue, a missing permission, a lost
majority. Deleting the queue would heal none of them.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.broker import MAX_HOPS, Wakeup
from program_service.wakeups.rabbitmq.declarations import Declarations
from program_service.wakeups.rabbitmq.driver.connection import Connection
from program_service.wakeups.rabbitmq.driver.errors import (
    INTERNAL_ERROR,
    BrokerError,
    ConnectionLost,
    NoAnswer,
    NotConfirmed,
)
from program_service.wakeups.rabbitmq.link import Nodes
from program_service.wakeups.rabbitmq.messages import write
from program_service.wakeups.rabbitmq.topology import PROBE_ARGUMENTS
from program_service.wakeups.rabbitmq.troubles import Troubles

SICK_AFTER_S = 20.0
"""Longer than the election of a leader, and than a node needs to come back."""

DELETE_TIMEOUT_S = 15.0
"""A queue without a leader is deleted after 5 s."""


class Examiner:
    """Tell a sick queue from one that fails for another reason, and make it again."""

    def __init__(self, nodes: Nodes, declarations: Declarations, troubles: Troubles) -> None:
        """Examine over connections of its own, each for one examination."""
        self._nodes = nodes
        self._declarations = declarations
        self._topology = declarations.topology
        self.troubles = troubles

    async def is_made_again(self, queue: str) -> bool:
        """Delete a queue if it is sick, and say whether it was; its next user declares it."""
        if not self._declarations.is_ours(queue):
            return False
        try:
            if not await self._is_sick(queue):
                return False
            log.warning(Event.QUEUE_DELETED, queue=queue, failing_s=SICK_AFTER_S)
            await self._make_again(self._topology.queue(queue))
        except BrokerError as error:
            log.warning(Event.BROKER_LOST, during="examine", queue=queue, error_message=str(error))
            return False
        return True

    async def _is_sick(self, queue: str) -> bool:
        """Require that another queue works, and that this one neither takes nor gives messages."""
        name = self._topology.queue(queue)
        nobody = f"probe-{uuid.uuid4().hex}"  # a program that does not exist
        async with self._connected() as connection:
            if not await self._does_a_new_queue_work(connection):
                return False
            channel = await connection.channel(confirms=True)
            wakeup = Wakeup(queue, (nobody,), datetime.now(UTC), MAX_HOPS)
            (refusal,) = await channel.publish([write(wakeup)], key=name)
            if not (isinstance(refusal, NotConfirmed) or is_fault_of_queue(refusal)):
                return False
            try:
                # last, for it may end the connection
                await (await connection.channel()).peek(name)
            except BrokerError as error:
                return is_fault_of_queue(error)
        return False  # it is full, for example

    async def _does_a_new_queue_work(self, connection: Connection) -> bool:
        name = self._topology.probe()
        channel = await connection.channel(confirms=True)
        await channel.declare_queue(name, durable=True, arguments=PROBE_ARGUMENTS)
        (refusal,) = await channel.publish([b"probe"], key=name)
        await channel.delete_queue(name)
        return refusal is None

    async def _make_again(self, name: str) -> None:
        async with self._connected() as connection:
            channel = await connection.channel()
            await channel.delete_queue(name, within_s=DELETE_TIMEOUT_S)
            # only a queue that lives takes its files along: made again once, it would be found
            # sick again after the next start of the node
            arguments = self._topology.arguments(name)
            await channel.declare_queue(name, durable=True, arguments=arguments)
            await channel.delete_queue(name)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection]:
        connection = await self._nodes.connect()
        try:
            yield connection
        finally:
            await connection.close()


def is_fault_of_queue(error: BrokerError | None) -> bool:
    """Whether a queue may be to blame for this, if RabbitMQ answers others meanwhile."""
    return isinstance(error, NoAnswer) or (
        isinstance(error, ConnectionLost) and error.code == INTERNAL_ERROR
    )
