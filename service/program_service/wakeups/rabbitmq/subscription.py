"""Subscription: receive wake-ups, and go on receiving them whatever happens to the connection.

A consumer that the broker cancelled (its queue was deleted) is treated like a lost connection:
everything is opened anew. A watchdog asks the broker every few seconds whether our consumers are
there, so that neither a half-open connection nor a forgotten consumer goes unnoticed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Delivery, Wakeup
from program_service.wakeups.rabbitmq.link import FAILURES, TIMEOUT_S, Link
from program_service.wakeups.rabbitmq.topology import Topology, Unparsable, read

log = structlog.get_logger()

WATCH_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class RabbitDelivery:
    """A wake-up that arrived; its acknowledgement may be lost, which changes nothing."""

    def __init__(self, wakeup: Wakeup, message: AbstractIncomingMessage) -> None:
        """Hold the message."""
        self.wakeup = wakeup
        self._message = message

    async def acknowledge(self) -> None:
        """Tell the broker that it may forget the wake-up."""
        # when its channel is gone, the wake-up comes again, and finds nothing to do
        with suppress(*FAILURES):
            await self._message.ack()


class RabbitSubscription:
    """The wake-ups of some queues."""

    def __init__(
        self,
        link: Link,
        topology: Topology,
        metrics: Metrics,
        *,
        queues: Sequence[str],
        prefetch: int,
    ) -> None:
        """Receive from these queues while `run` runs."""
        self._link = link
        self._topology = topology
        self._metrics = metrics
        self._queues = queues
        self._prefetch = prefetch
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._lost = asyncio.Event()
        self._is_paused = False
        self._channel: AbstractChannel | None = None
        self._consumers: dict[str, AbstractQueue] = {}
        self._changing = asyncio.Lock()

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""
        return await self._arrived.get()

    async def pause(self) -> list[Delivery]:
        """Receive no more, and return what has arrived and was not taken."""
        async with self._changing:
            self._is_paused = True
            await self._change(self._cancel)
        return self._take_arrived()

    async def resume(self) -> None:
        """Receive again."""
        async with self._changing:
            self._is_paused = False
            await self._change(self._consume)

    async def run(self) -> None:
        """Keep consumers at the broker for ever, anew after each failure."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._open()
                pause_s = FIRST_PAUSE_S
                await self._watch()
            except FAILURES as error:
                log.warning(Event.BROKER_LOST, during="consume", error_message=repr(error))
            self._channel, self._consumers = None, {}
            self._take_arrived()  # the broker delivers them again, to whoever is there
            await self._link.close()
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _open(self) -> None:
        self._lost.clear()
        channel = await self._link.channel()
        # for each consumer: RabbitMQ 4 knows no limit for a whole channel of quorum queues
        await channel.set_qos(prefetch_count=self._prefetch, timeout=TIMEOUT_S)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_cancelled)
        channel.close_callbacks.add(self._on_closed)
        async with self._changing:
            self._channel = channel
            if not self._is_paused:
                await self._consume(channel)

    async def _change(self, change: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        """Change what is consumed; if that fails, everything is opened anew."""
        if self._channel is None:
            return
        try:
            await change(self._channel)
        except FAILURES as error:
            log.warning(Event.BROKER_LOST, during="consume", error_message=repr(error))
            self._lost.set()

    async def _consume(self, channel: AbstractChannel) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            for name in self._queues:
                queue = await self._topology.declare_queue(channel, name)
                tag = await queue.consume(partial(self._receive, name))
                self._consumers[tag] = queue

    async def _cancel(self, _channel: AbstractChannel) -> None:
        consumers, self._consumers = self._consumers, {}
        async with asyncio.timeout(TIMEOUT_S):
            for tag, queue in consumers.items():
                await queue.cancel(tag)

    async def _receive(self, queue: str, message: AbstractIncomingMessage) -> None:
        try:
            wakeup = read(message.body, queue)
        except Unparsable as error:
            log.warning(Event.WAKEUP_UNPARSABLE, queue=queue, error_message=str(error))
            self._metrics.received.labels("unparsable").inc()
            await message.reject(requeue=False)  # to the dead letters
            return
        self._arrived.put_nowait(RabbitDelivery(wakeup, message))

    async def _watch(self) -> None:
        """Return when something is lost."""
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(WATCH_EVERY_S):
                    await self._lost.wait()
            except TimeoutError:
                await self._check()

    async def _check(self) -> None:
        """Ask the broker whether our consumers are there; no answer is an answer, too."""
        async with self._changing:
            for queue in set(self._consumers.values()):
                async with asyncio.timeout(TIMEOUT_S):
                    declared = await queue.declare()
                if not declared.consumer_count:
                    self._metrics.consumer_cancelled.inc()
                    self._lost.set()

    def _take_arrived(self) -> list[Delivery]:
        taken = []
        while not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        return taken

    def _on_cancelled(self, _frame: object) -> None:
        self._metrics.consumer_cancelled.inc()
        self._lost.set()

    def _on_closed(self, *_why: object) -> None:
        self._lost.set()
