"""Topology: the names of what one deployment has in RabbitMQ, and the arguments of its queues."""

import uuid
from typing import Any

from program_service.names import DEAD_LETTERS, MAX_BROKER_NAME, is_name_in_broker
from program_service.wakeups.rabbitmq.driver.errors import BadName

DELIVERY_LIMIT = 50
"""Deliveries of one wake-up; then it is dead-lettered, and the sweeper takes over."""

MAX_DEAD = 10_000
"""Dead letters that are kept, the newest, for people to look at."""

PROBE_ARGUMENTS = {"x-queue-type": "quorum", "x-expires": 60_000}
"""Of a queue that is made to see whether queues work; RabbitMQ removes it a minute later."""


class Topology:
    """The names of everything that one deployment has in a broker."""

    def __init__(self, queue_name: str) -> None:
        """Begin every name with `queue_name`."""
        self._prefix = queue_name
        self.dead = f"{queue_name}.{DEAD_LETTERS}"
        self.control = f"{queue_name}.control"

    def queue(self, queue: str) -> str:
        """Return the name of a queue of wake-ups.

        Raises:
            BadName: AMQP clients cannot use a queue of this name.
        """
        name = f"{self._prefix}.{queue}"
        if not is_name_in_broker(name):
            msg = (
                f"RabbitMQ's clients cannot use a queue named {name!r}: use at most"
                f" {MAX_BROKER_NAME} letters without accents, digits, spaces and - _ . : @ # , / +"
            )
            raise BadName(msg)
        return name

    def ears(self) -> str:
        """Return a new name for the queue in which one process hears what all are told."""
        # not a name of the broker's: a user may be allowed names with our prefix alone
        return f"{self.control}.{uuid.uuid4().hex}"

    def probe(self) -> str:
        """Return a new name for a queue that is made to see whether queues work at all."""
        return f"{self._prefix}.probe.{uuid.uuid4().hex}"

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments that a durable queue is declared with."""
        if name == self.dead:
            return {"x-queue-type": "quorum", "x-max-length": MAX_DEAD}
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
        }
