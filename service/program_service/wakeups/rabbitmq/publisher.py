"""Publisher: send wake-ups, and believe only what the broker confirms.

Each queue has a channel of its own, over the connection that all share. While a queue fails
although the broker answers, nobody waits for it: its wake-ups are unconfirmed at once, and
`recover` tries one of them from time to time.
"""

import asyncio
from collections.abc import Callable, Sequence

from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.broker import Wakeup
from program_service.wakeups.rabbitmq.declarations import Declarations
from program_service.wakeups.rabbitmq.driver.connection import Channel
from program_service.wakeups.rabbitmq.driver.errors import (
    BadName,
    Blocked,
    BrokerError,
    NoRoom,
    NotConfirmed,
    Paused,
    Refused,
)
from program_service.wakeups.rabbitmq.messages import write
from program_service.wakeups.rabbitmq.route import Route

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 8.0
"""Between attempts to publish to a queue that fails."""

REFUSES_FOR_S = 10.0
"""How long a queue may refuse messages, at once, before it counts as failing."""

SETTLE_S = 0.5
"""A deleted queue is declared again after so long, when its consumers were told of the end."""


SAID_ELSEWHERE = (Paused, Blocked, NoRoom, Refused, BadName)
"""Errors that are logged once, by whoever found them."""


class Publisher:
    """Publishes to one queue."""

    def __init__(
        self,
        route: Route,
        declarations: Declarations,
        *,
        fails: "Callable[[Publisher], None]",
    ) -> None:
        """Publish by this route; `fails` is called when the queue begins to fail."""
        self._queue = route.queue
        self._route = route
        self._declarations = declarations
        self._fails = fails
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._settled_at = 0.0
        self._paused_until = 0.0
        self._sample: Sequence[Wakeup] = ()
        self._under_way = 0
        self.is_failing = False

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether it was confirmed."""
        self._sample = wakeups[:1]
        if self.is_failing or _now() < self._paused_until:
            return [False] * len(wakeups)
        self._under_way += 1
        try:
            return await self._send(wakeups)
        finally:
            self._under_way -= 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being sent, or tried."""
        return self._under_way == 0 and not self.is_failing

    async def recover(self) -> None:
        """Try one wake-up again and again, until it is confirmed."""
        pause_s = FIRST_PAUSE_S
        while self.is_failing:
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            await self._send(self._sample)
            if self.is_failing:
                await self._route.examine()

    async def close(self) -> None:
        """Give its channel back, and close the queue's own connection if it has one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        await self._route.close()

    async def _send(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        failures = await self._attempt(wakeups)
        refused = [at for at, failure in enumerate(failures) if isinstance(failure, NotConfirmed)]
        if refused:
            # a nack, or a queue that was deleted: over a new channel, which declares it, once more
            again = await self._attempt([wakeups[at] for at in refused])
            for at, failure in zip(refused, again, strict=True):
                failures[at] = failure
        await self._note(next((each for each in failures if each is not None), None))
        return [failure is None for failure in failures]

    async def _note(self, failure: BrokerError | None) -> None:
        if failure is None:
            self.is_failing = False
            self._route.note_success()
        elif not await self._route.blames_queue(failure) or self.is_failing:
            return
        elif isinstance(failure, NotConfirmed) and self._route.failing_s < REFUSES_FOR_S:
            self._paused_until = _now() + FIRST_PAUSE_S
        else:
            self.is_failing = True
            self._fails(self)

    async def _attempt(self, wakeups: Sequence[Wakeup]) -> list[BrokerError | None]:
        """Send wake-ups once and return what went wrong with each, or None."""
        try:
            channel = await self._open()
        except BrokerError as error:
            self._warn(error)
            return [error] * len(wakeups)
        bodies = [write(wakeup) for wakeup in wakeups]
        failures = await channel.publish(bodies, key=self._declarations.topology.queue(self._queue))
        failure = next((each for each in failures if each is not None), None)
        if failure is not None:
            self._warn(failure)
            await self._give_up(channel)
        return failures

    async def _open(self) -> Channel:
        """Return an open channel to the queue.

        Raises:
            BrokerError: there is none.
        """
        async with self._opening:
            if self._route.leads_back:
                self._channel = None
                await self._route.rejoin()
            self._route.link.require_unblocked()
            if self._channel is None or self._channel.is_closed:
                self._channel = None
                await asyncio.sleep(self._settled_at - _now())
                self._channel = await self._declarations.channel_to(
                    self._route.link, self._queue, confirms=True
                )
            return self._channel

    async def _give_up(self, channel: Channel) -> None:
        """Send no more over a channel.

        Also after a nack: on RabbitMQ 3.10 a channel whose first publish fell while the queue's
        leader was down gets a nack for every later one.
        """
        if channel is self._channel:
            self._channel = None
            self._settled_at = _now() + SETTLE_S
        await channel.close()

    def _warn(self, error: BrokerError) -> None:
        if not isinstance(error, SAID_ELSEWHERE):
            log.warning(
                Event.BROKER_LOST, during="publish", queue=self._queue, error_message=str(error)
            )


def _now() -> float:
    return asyncio.get_running_loop().time()
