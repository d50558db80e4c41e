"""Publisher: send wake-ups, and believe only what the broker confirms.

Each queue has a connection of its own: one that is sick, as a node that dies at the wrong moment
may leave it, hangs its channels and closes connections, and must not keep others from being woken.
"""

import asyncio
from collections.abc import Sequence

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError

from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.broker import Announcement, Wakeup
from program_service.wakeups.rabbitmq.link import FAILURES, TIMEOUT_S, Link
from program_service.wakeups.rabbitmq.sickness import Sickness
from program_service.wakeups.rabbitmq.topology import Topology, write, write_announcement

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 8.0
"""After a failure nothing is sent for so long: who publishes must not wait for each time-out."""

SETTLE_S = 0.5
"""A deleted queue is made anew after so long, when the broker has told its consumers of the end."""


class Outlet:
    """A channel with confirms; after any failure, a new one."""

    def __init__(self, link: Link) -> None:
        """Send over this link, which nobody else uses."""
        self._link = link
        self._channel: AbstractChannel | None = None
        self._settled_at = 0.0
        self._opening = asyncio.Lock()

    async def channel(self) -> tuple[AbstractChannel, bool]:
        """Return an open channel, and whether it is new.

        Raises:
            OSError: the broker does not answer; or another of `FAILURES`.
        """
        async with self._opening, asyncio.timeout(TIMEOUT_S):
            if self._channel is not None and not self._channel.is_closed:
                return self._channel, False
            await asyncio.sleep(self._settled_at - asyncio.get_running_loop().time())
            self._channel = await self._link.channel(confirms=True)
            return self._channel, True

    async def spare_channel(self) -> AbstractChannel:
        """Open a channel besides, to be closed by the caller.

        Raises:
            OSError: the broker does not answer; or another of `FAILURES`.
        """
        return await self._link.channel()

    async def give_up(self, error: BaseException) -> None:
        """Send no more over this channel; if that was no refusal, not over this connection."""
        channel, self._channel = self._channel, None
        log.warning(Event.BROKER_LOST, during="publish", error_message=repr(error))
        if isinstance(error, DeliveryError):
            self._settled_at = asyncio.get_running_loop().time() + SETTLE_S
            await self._link.discard(channel)
        else:
            await self._link.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()


class Publisher:
    """Publishes to one queue."""

    def __init__(self, link: Link, topology: Topology, queue: str) -> None:
        """Publish over this link, which nobody else uses."""
        self._outlet = Outlet(link)
        self._sickness = Sickness(link, topology, queue)
        self._topology = topology
        self._queue = queue
        self._paused_until = 0.0
        self._pause_s = FIRST_PAUSE_S

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

    async def depth(self) -> int | None:
        """Count the wake-ups that wait; None when the broker does not answer."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                # a channel that asks for a queue that is not there is closed by the answer
                channel = await self._outlet.spare_channel()
                found = await channel.declare_queue(self._name, passive=True)
                await channel.close()
        except ChannelNotFoundEntity:
            return 0  # a queue that is not there holds nothing
        except FAILURES as error:
            await self._pause(error)
            return None
        return found.declaration_result.message_count or 0

    async def close(self) -> None:
        """Close the connection."""
        await self._outlet.close()

    @property
    def _name(self) -> str:
        return self._topology.queue(self._queue)

    async def _attempt(self, wakeups: Sequence[Wakeup]) -> list[BaseException | None]:
        """Send wake-ups once and return of each what went wrong with it, or None."""
        if asyncio.get_running_loop().time() < self._paused_until:
            return [ConnectionError("paused")] * len(wakeups)
        try:
            channel, is_new = await self._outlet.channel()
        except FAILURES as error:
            self._sickness.is_over()
            await self._pause(error)
            return [error] * len(wakeups)
        answers = await self._send_all(channel, wakeups, is_new=is_new)
        failure = next((answer for answer in answers if answer is not None), None)
        if failure is None:
            self._pause_s = FIRST_PAUSE_S
            self._sickness.is_over()
        else:
            # also after a nack: on RabbitMQ 3.10 a channel whose first publish fell while the
            # queue's leader was down gets a nack for every later one
            await self._pause(failure)
            await self._sickness.goes_on()
        return answers

    async def _send_all(
        self, channel: AbstractChannel, wakeups: Sequence[Wakeup], *, is_new: bool
    ) -> list[BaseException | None]:
        """Send wake-ups, over a new channel to a queue that is surely declared."""
        try:
            if is_new:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._topology.declare_queue(channel, self._queue)
        except FAILURES as error:
            return [error] * len(wakeups)
        return await asyncio.gather(
            *(self._send(channel, wakeup) for wakeup in wakeups), return_exceptions=True
        )

    async def _send(self, channel: AbstractChannel, wakeup: Wakeup) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await channel.default_exchange.publish(write(wakeup), self._name, mandatory=True)

    async def _pause(self, error: BaseException) -> None:
        if not isinstance(error, DeliveryError):
            self._paused_until = asyncio.get_running_loop().time() + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        await self._outlet.give_up(error)


class Announcer:
    """Tells all workers what concerns one of them."""

    def __init__(self, link: Link, topology: Topology) -> None:
        """Send over this link, which nobody else uses."""
        self._outlet = Outlet(link)
        self._topology = topology

    async def announce(self, announcement: Announcement) -> None:
        """Tell all workers, if the broker is there."""
        try:
            channel, _ = await self._outlet.channel()
            async with asyncio.timeout(TIMEOUT_S):
                exchange = await channel.declare_exchange(
                    self._topology.control, aio_pika.ExchangeType.FANOUT, durable=True
                )
                message = aio_pika.Message(write_announcement(announcement))
                # not mandatory: without a worker there is nobody to tell
                await exchange.publish(message, routing_key="", mandatory=False)
        except FAILURES as error:
            await self._outlet.give_up(error)

    async def close(self) -> None:
        """Close the connection."""
        await self._outlet.close()
