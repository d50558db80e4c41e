"""Publisher: send wake-ups, and believe only what the broker confirms."""

import asyncio
from collections.abc import Sequence

import aio_pika
import orjson
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError

from program_service.telemetry import Event
from program_service.wakeups.broker import Cancelled, Wakeup
from program_service.wakeups.rabbitmq.link import FAILURES, TIMEOUT_S, Link
from program_service.wakeups.rabbitmq.topology import Topology, write

log = structlog.get_logger()

PAUSE_S = 1.0
"""After a failure nothing is sent for so long: who publishes must not wait for each time-out."""

SETTLE_S = 0.5
"""A deleted queue is made anew after so long, when the broker has told its consumers of the end."""


class Publisher:
    """A channel with confirms; after any failure, a new one."""

    def __init__(self, link: Link, topology: Topology) -> None:
        """Publish over this link."""
        self._link = link
        self._topology = topology
        self._channel: AbstractChannel | None = None
        self._declared: set[str] = set()
        self._paused_until = 0.0
        self._settled_at = 0.0
        self._opening = asyncio.Lock()

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether it was confirmed."""
        answers = await self._attempt(wakeups)
        refused = [at for at, answer in enumerate(answers) if isinstance(answer, DeliveryError)]
        if refused:
            # a nack, or a queue that was deleted: over a new channel, which declares it, once more
            again = await self._attempt([wakeups[at] for at in refused])
            for at, answer in zip(refused, again, strict=True):
                answers[at] = answer
        return [answer is None for answer in answers]

    async def _attempt(self, wakeups: Sequence[Wakeup]) -> list[BaseException | None]:
        """Send wake-ups once and return of each what went wrong with it, or None."""
        if asyncio.get_running_loop().time() < self._paused_until:
            return [ConnectionError("paused")] * len(wakeups)
        try:
            channel = await self._ready({wakeup.queue for wakeup in wakeups})
        except FAILURES as error:
            await self._give_up(error)
            return [error] * len(wakeups)
        answers = await asyncio.gather(
            *(self._send(channel, wakeup) for wakeup in wakeups), return_exceptions=True
        )
        failure = next((answer for answer in answers if answer is not None), None)
        if failure is not None:
            # also after a nack: on RabbitMQ 3.10 a channel whose first publish fell while the
            # queue's leader was down gets a nack for every later one
            await self._give_up(failure)
        return answers

    async def announce(self, cancelled: Cancelled) -> None:
        """Tell all workers of a cancelled program, if the broker is there."""
        try:
            channel = await self._ready(set())
            async with asyncio.timeout(TIMEOUT_S):
                exchange = await channel.declare_exchange(
                    self._topology.control, aio_pika.ExchangeType.FANOUT, durable=True
                )
                message = aio_pika.Message(orjson.dumps({"cancelled": cancelled.run_id}))
                # not mandatory: without a worker there is nobody to tell
                await exchange.publish(message, routing_key="", mandatory=False)
        except FAILURES as error:
            await self._give_up(error)

    async def _ready(self, queues: set[str]) -> AbstractChannel:
        """Return an open channel, with these queues declared."""
        async with self._opening, asyncio.timeout(TIMEOUT_S):
            if self._channel is None or self._channel.is_closed:
                await asyncio.sleep(self._settled_at - asyncio.get_running_loop().time())
                self._channel = await self._link.channel(confirms=True)
                self._declared = set()
            for queue in queues - self._declared:
                await self._topology.declare_queue(self._channel, queue)
                self._declared.add(queue)
            return self._channel

    async def _send(self, channel: AbstractChannel, wakeup: Wakeup) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await channel.default_exchange.publish(
                write(wakeup), self._topology.queue(wakeup.queue), mandatory=True
            )

    async def _give_up(self, error: BaseException) -> None:
        channel, self._channel = self._channel, None
        now = asyncio.get_running_loop().time()
        if isinstance(error, DeliveryError):
            self._settled_at = now + SETTLE_S
        else:
            self._paused_until = now + PAUSE_S
        log.warning(Event.BROKER_LOST, during="publish", error_message=repr(error))
        await self._link.discard(channel)
