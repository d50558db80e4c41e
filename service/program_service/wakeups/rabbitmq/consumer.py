"""Consumer: receive the wake-ups of one queue, and go on receiving them whatever happens.

A consumer that the broker cancelled (its queue was deleted) is treated like a lost channel: another
one is opened. A watchdog asks the broker every few seconds whether the consumer is there, so that
neither a half-open connection nor a forgotten consumer goes unnoticed. And a consumer that hears
nothing for long is replaced, whatever the broker says of it: when a deleted queue is declared again
before its consumers were told, RabbitMQ 3.10 counts them on the new one, fills their prefetch, and
delivers nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from program_service.logs import log
from program_service.loops.turns import is_set_within
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Delivery, Wakeup
from program_service.wakeups.rabbitmq.declarations import Declarations
from program_service.wakeups.rabbitmq.driver.connection import Channel, Message
from program_service.wakeups.rabbitmq.driver.errors import BrokerError
from program_service.wakeups.rabbitmq.messages import Unparsable, read
from program_service.wakeups.rabbitmq.publisher import SAID_ELSEWHERE
from program_service.wakeups.rabbitmq.route import Route

WATCH_EVERY_S = 5.0
QUIET_S = 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Consumer:
    """One queue's consumer, a loop; what happens to one queue harms no other."""

    def __init__(
        self,
        route: Route,
        declarations: Declarations,
        *,
        metrics: Metrics,
        prefetch: int,
        arrive: Callable[[Delivery], None],
    ) -> None:
        """Receive by this route while `run` runs; pass on what arrives."""
        self.name = f"consumer:{route.queue}"
        self._queue = route.queue
        self._route = route
        self._declarations = declarations
        self._metrics = metrics
        self._prefetch = prefetch
        self._arrive = arrive
        self._stirred = asyncio.Event()
        self._changing = asyncio.Lock()
        self._is_wanted = True
        self._channel: Channel | None = None
        self._has_ended = False
        self._tag: str | None = None
        self._held: set[Message] = set()
        self._unparsable: deque[Message] = deque()
        self._heard_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        """Keep a consumer at the broker, another one after each failure."""
        try:
            while True:
                await self._consume_until_lost()
                await asyncio.sleep(max(self._pause_s, self._route.link.pause_s))
                self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        finally:
            await self._give_up_channel()
            await self._route.close()

    async def pause(self) -> None:
        """Receive no more."""
        self._is_wanted = False
        try:
            await self._consume_as_wanted()
        except BrokerError as error:
            self._warn(error)
            self._end()

    def resume(self) -> None:
        """Receive again, soon."""
        self._is_wanted = True
        self._stirred.set()

    async def _consume_until_lost(self) -> None:
        try:
            await self._open()
            await self._watch()
        except BrokerError as error:
            self._warn(error)
            if await self._route.blames_queue(error):
                await self._route.examine()
        await self._give_up_channel()

    async def _open(self) -> None:
        """Open a channel and consume.

        Raises:
            BrokerError: that failed.
        """
        self._has_ended, self._tag, self._held = False, None, set()
        self._unparsable.clear()
        if self._route.leads_back:
            await self._route.rejoin()
        channel = await self._declarations.channel_to(self._route.link, self._queue)
        async with self._changing:
            self._channel = channel
            channel.ended = self._end
            # for each consumer: RabbitMQ 4 knows no limit for a whole channel of quorum queues
            await channel.set_prefetch(self._prefetch)
        await self._consume_as_wanted()
        self._pause_s = FIRST_PAUSE_S
        self._route.note_success()

    def _end(self) -> None:
        self._has_ended = True
        self._stirred.set()

    async def _watch(self) -> None:
        """Return when something is lost.

        Raises:
            BrokerError: the broker does not answer, or the consumer cannot do what is wanted.
        """
        while not self._has_ended:
            await self._put_aside()
            await self._consume_as_wanted()
            if not await is_set_within(self._stirred, WATCH_EVERY_S):
                await self._check()
            self._stirred.clear()
        if self._channel is not None and self._channel.is_consumer_cancelled:
            self._metrics.consumer_cancelled.inc()

    async def _put_aside(self) -> None:
        while self._unparsable:
            await self._unparsable.popleft().reject()

    async def _consume_as_wanted(self) -> None:
        async with self._changing:
            if self._channel is None:
                return  # what opens one looks whether to consume
            if not self._is_wanted and self._tag is not None:
                tag, self._tag = self._tag, None
                await self._channel.cancel(tag)
            elif self._is_wanted and self._tag is None:
                self._hear()
                name = self._declarations.topology.queue(self._queue)
                self._tag = await self._channel.consume(name, self._receive)

    def _receive(self, message: Message) -> None:
        self._hear()
        try:
            wakeup = read(message.body, self._queue)
        except Unparsable as error:
            log.warning(Event.WAKEUP_UNPARSABLE, queue=self._queue, error_message=str(error))
            self._metrics.received.labels("unparsable").inc()
            self._unparsable.append(message)
            self._stirred.set()
            return
        self._held.add(message)
        self._arrive(RabbitDelivery(wakeup, message, self._release))

    def _release(self, message: Message) -> None:
        self._held.discard(message)
        self._hear()

    def _hear(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    async def _check(self) -> None:
        """Ask the broker whether our consumer is there; no answer is an answer, too."""
        async with self._changing:
            if self._channel is None or self._tag is None:
                return
            name = self._declarations.topology.queue(self._queue)
            found = await self._channel.declare_queue(name, passive=True)
            if not found.consumers:
                self._metrics.consumer_cancelled.inc()
                self._end()
            elif not self._held and self._is_quiet():
                self._end()
        if self._route.leads_back:
            self._end()

    def _is_quiet(self) -> bool:
        return asyncio.get_running_loop().time() - self._heard_at > QUIET_S

    async def _give_up_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.ended = lambda: None
            await channel.close()

    def _warn(self, error: BrokerError) -> None:
        if not isinstance(error, SAID_ELSEWHERE):
            log.warning(
                Event.BROKER_LOST, during="consume", queue=self._queue, error_message=str(error)
            )


class RabbitDelivery:
    """A wake-up that arrived; its acknowledgement may be lost, which changes nothing."""

    def __init__(
        self, wakeup: Wakeup, message: Message, release: Callable[[Message], None]
    ) -> None:
        """Hold the message; `release` is told when it is held no longer."""
        self.wakeup = wakeup
        self._message = message
        self._release = release

    async def acknowledge(self) -> None:
        """Tell the broker that it may forget the wake-up."""
        try:
            await self._message.acknowledge()
        except BrokerError:
            pass  # the wake-up comes again, and finds nothing to do
        finally:
            self._release(self._message)
