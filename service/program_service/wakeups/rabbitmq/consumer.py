"""Consumer: receive the wake-ups of one queue, and go on receiving them whatever happens.

A consumer that the broker cancelled (its queue was deleted) is treated like a lost channel: it is
opened anew. A watchdog asks the broker every few seconds whether the consumer is there, so that
neither a half-open connection nor a forgotten consumer goes unnoticed. And a consumer that hears
nothing for long is replaced, whatever the broker says of it: when a deleted queue is made anew
before its consumers were told, RabbitMQ 3.10 counts them on the new one, fills their prefetch, and
delivers nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from program_service.logs import log
from program_service.loops.turns import is_set_within
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Delivery, Wakeup
from program_service.wakeups.rabbitmq.link import FAILURES, TIMEOUT_S, Link
from program_service.wakeups.rabbitmq.sickness import Sickness
from program_service.wakeups.rabbitmq.topology import Topology, Unparsable, read

WATCH_EVERY_S = 5.0
QUIET_S = 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Consumer:
    """One queue's consumer, over a link of its own: what happens to one queue harms no other."""

    def __init__(
        self,
        link: Link,
        topology: Topology,
        metrics: Metrics,
        queue: str,
        *,
        prefetch: int,
    ) -> None:
        """Receive from this queue while `run` runs."""
        self._link = link
        self._sickness = Sickness(link, topology, queue)
        self._topology = topology
        self._metrics = metrics
        self._name = queue
        self._prefetch = prefetch
        self._lost = asyncio.Event()
        self._changing = asyncio.Lock()
        self._is_paused = False
        self._arrive: Callable[[Delivery], None] = lambda _delivery: None
        self._channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._held: set[object] = set()
        self._heard_at = 0.0

    async def run(self, arrive: Callable[[Delivery], None]) -> None:
        """Keep a consumer at the broker for ever, anew after each failure; pass on what arrives."""
        self._arrive = arrive
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._open()
                pause_s = FIRST_PAUSE_S
                await self._watch()
            except FAILURES as error:
                self._warn(error)
            channel, self._channel = self._channel, None
            await self._link.discard(channel)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def pause(self) -> None:
        """Receive no more."""
        async with self._changing:
            self._is_paused = True
            await self._change()

    async def resume(self) -> None:
        """Receive again."""
        async with self._changing:
            self._is_paused = False
            await self._change()

    async def _change(self) -> None:
        """Consume or not, as told; if that fails, everything is opened anew."""
        if self._channel is None:
            return
        try:
            await self._consume_or_cancel()
        except FAILURES as error:
            self._warn(error)
            self._lost.set()

    async def _open(self) -> None:
        """Open a channel and consume.

        Raises:
            OSError: the broker does not answer; or another of `FAILURES`.
        """
        self._lost.clear()
        try:
            self._channel = channel = await self._link.channel()
        except FAILURES:
            self._sickness.is_over()
            raise
        try:
            await self._consume_over(channel)
        except FAILURES:
            await self._sickness.goes_on()
            raise
        self._sickness.is_over()

    async def _consume_over(self, channel: AbstractChannel) -> None:
        channel.close_callbacks.add(self._on_closed)
        async with self._changing, asyncio.timeout(TIMEOUT_S):
            # for each consumer: RabbitMQ 4 knows no limit for a whole channel of quorum queues
            await channel.set_qos(prefetch_count=self._prefetch)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._on_cancelled)
            self._queue = await self._topology.declare_queue(channel, self._name)
            self._tag, self._held = None, set()
            await self._consume_or_cancel()

    async def _consume_or_cancel(self) -> None:
        if self._queue is None:
            return  # it is being opened, which looks whether to consume
        async with asyncio.timeout(TIMEOUT_S):
            if self._is_paused and self._tag is not None:
                tag, self._tag = self._tag, None
                await self._queue.cancel(tag)
            elif not self._is_paused and self._tag is None:
                self._tag = await self._queue.consume(self._receive)
                self._hear()

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        self._hear()
        try:
            wakeup = read(message.body, self._name)
        except Unparsable as error:
            log.warning(Event.WAKEUP_UNPARSABLE, queue=self._name, error_message=str(error))
            self._metrics.received.labels("unparsable").inc()
            await message.reject(requeue=False)  # to the dead letters
            return
        self._held.add(message)
        self._arrive(RabbitDelivery(wakeup, message, self._release))

    def _release(self, message: AbstractIncomingMessage) -> None:
        self._held.discard(message)
        self._hear()

    def _hear(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        """Return when something is lost."""
        while not await is_set_within(self._lost, WATCH_EVERY_S):
            await self._check()

    async def _check(self) -> None:
        """Ask the broker whether our consumer is there; no answer is an answer, too."""
        async with self._changing:
            if self._queue is None or self._tag is None:
                return
            async with asyncio.timeout(TIMEOUT_S):
                declared = await self._queue.declare()
            if not declared.consumer_count:
                self._metrics.consumer_cancelled.inc()
                self._lost.set()
            elif not self._held and self._is_quiet():
                self._lost.set()

    def _is_quiet(self) -> bool:
        return asyncio.get_running_loop().time() - self._heard_at > QUIET_S

    def _on_cancelled(self, _frame: object) -> None:
        self._metrics.consumer_cancelled.inc()
        self._lost.set()

    def _on_closed(self, channel: object, *_why: object) -> None:
        if channel is self._channel:
            self._lost.set()

    def _warn(self, error: BaseException) -> None:
        log.warning(
            Event.BROKER_LOST, during="consume", queue=self._name, error_message=repr(error)
        )


class RabbitDelivery:
    """A wake-up that arrived; its acknowledgement may be lost, which changes nothing."""

    def __init__(
        self,
        wakeup: Wakeup,
        message: AbstractIncomingMessage,
        release: Callable[[AbstractIncomingMessage], None],
    ) -> None:
        """Hold the message; `release` is told when it is held no longer."""
        self.wakeup = wakeup
        self._message = message
        self._release = release

    async def acknowledge(self) -> None:
        """Tell the broker that it may forget the wake-up."""
        # when its channel is gone, the wake-up comes again, and finds nothing to do
        with suppress(*FAILURES):
            await self._message.ack()
        self._release(self._message)
