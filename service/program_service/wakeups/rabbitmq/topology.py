"""Topology: what stands in RabbitMQ, and how messages are written."""

import uuid
from datetime import datetime
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractQueue

from program_service.wakeups.broker import Announcement, Cancelled, Quieted, Wakeup

DELIVERY_LIMIT = 50
"""Deliveries of one wake-up; then it is dead-lettered, and the sweeper takes over."""

MAX_DEAD = 10_000
"""Dead letters that are kept, the newest, for people to look at."""


class Unparsable(ValueError):
    """A message is no wake-up."""


class Topology:
    """The names of everything that one deployment has in a broker."""

    def __init__(self, queue_name: str) -> None:
        """Put `queue_name` in front of every name."""
        self._prefix = queue_name
        self.dead = f"{queue_name}.dead-letters"
        self.control = f"{queue_name}.control"

    def queue(self, queue: str) -> str:
        """Return the name of a queue of wake-ups."""
        return f"{self._prefix}.{queue}"

    async def declare_ears(self, channel: AbstractChannel) -> AbstractQueue:
        """Declare where one process hears what all are told; it goes with the connection."""
        exchange = await channel.declare_exchange(
            self.control, aio_pika.ExchangeType.FANOUT, durable=True
        )
        # not by a name of the broker's: a user may be allowed names with our prefix alone
        name = f"{self.control}.{uuid.uuid4().hex}"
        queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
        await queue.bind(exchange)
        return queue

    async def declare_queue(self, channel: AbstractChannel, queue: str) -> AbstractQueue:
        """Declare a queue of wake-ups, and where its dead letters go."""
        await channel.declare_queue(
            self.dead,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-length": MAX_DEAD},
        )
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
        }
        return await channel.declare_queue(self.queue(queue), durable=True, arguments=arguments)


def write(wakeup: Wakeup) -> aio_pika.Message:
    """Write a wake-up as a persistent message."""
    body = {
        "run_ids": wakeup.run_ids,
        "published_at": wakeup.published_at.isoformat(),
        "hops": wakeup.hops,
    }
    return aio_pika.Message(
        orjson.dumps(body),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def read(body: bytes, queue: str) -> Wakeup:
    """Read a wake-up.

    Raises:
        Unparsable: the message is none.
    """
    try:
        value = orjson.loads(body)
        run_ids = value["run_ids"]
        published_at = datetime.fromisoformat(value["published_at"])
        hops = int(value["hops"]) if "hops" in value else 0
    except (ValueError, KeyError, TypeError) as error:
        raise Unparsable(str(error)) from error
    if not isinstance(run_ids, list) or not run_ids or not all(map(_is_run_id, run_ids)):
        raise Unparsable("run_ids must be a list of texts, at least one, without NUL")
    if published_at.tzinfo is None:
        raise Unparsable("published_at has no zone")
    return Wakeup(queue, tuple(run_ids), published_at, hops)


def write_announcement(announcement: Announcement) -> bytes:
    """Write what all workers are told."""
    match announcement:
        case Cancelled(run_id, lease):
            return orjson.dumps({"cancelled": run_id, "lease": lease})
        case Quieted(process):
            return orjson.dumps({"quieted": process})


def read_announcement(body: bytes) -> Announcement:
    """Read what all workers are told.

    Raises:
        Unparsable: it is nothing that we know; a newer version may say more.
    """
    try:
        match orjson.loads(body):
            case {"cancelled": str(run_id), **rest}:
                lease = rest.get("lease")
                return Cancelled(run_id, lease if isinstance(lease, str) else None)
            case {"quieted": str(process)}:
                return Quieted(process)
            case other:
                msg = f"no announcement: {other}"
                raise Unparsable(msg)
    except orjson.JSONDecodeError as error:
        raise Unparsable(str(error)) from error


def _is_run_id(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
