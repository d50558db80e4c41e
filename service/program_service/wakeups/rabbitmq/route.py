"""Route: the connection over which one user of a queue reaches it.

All queues share a connection. One that hangs, or that makes RabbitMQ close the connection, is
reached over a connection of its own until it works again, so that it harms no other.
"""

import asyncio
from collections.abc import Callable

from program_service.wakeups.rabbitmq import sickness
from program_service.wakeups.rabbitmq.driver.errors import (
    BadName,
    BrokerError,
    NoAnswer,
    NotConfirmed,
    Paused,
    QueueMissing,
    Refused,
)
from program_service.wakeups.rabbitmq.link import Link
from program_service.wakeups.rabbitmq.sickness import Examiner, is_fault_of_queue

WELL_AFTER_S, LONGEST_APART_S = 10.0, 600.0
"""How long a queue must work before it returns to the shared connection; longer each time."""


class Route:
    """The way to one queue, for one use of it: publishing or consuming."""

    def __init__(
        self,
        queue: str,
        use: str,
        shared: Link,
        own: Callable[[], Link],
        *,
        examiner: Examiner,
    ) -> None:
        """Begin with the shared link; `own` makes another."""
        self.queue = queue
        self._use = use
        self._shared = shared
        self._own = own
        self._examiner = examiner
        self._troubles = examiner.troubles
        self.link = shared
        self._failing_since: float | None = None
        self._failure: BrokerError | None = None
        self._working_since: float | None = None
        self._is_in_doubt = False
        self._well_after_s = WELL_AFTER_S

    async def blames_queue(self, error: BrokerError) -> bool:
        """Say whose fault it is; if it is the queue's, and harms others, keep it apart."""
        self._working_since = None
        if isinstance(error, Paused | QueueMissing):
            return False  # nothing was tried; or it is declared by the next attempt
        if isinstance(error, Refused | BadName):
            self._failing_since = None
            self._troubles.note(self.queue, self._use, error)
            return True
        if not await self._is_fault_of_queue(error):
            self._failing_since = None
            self._is_in_doubt &= isinstance(error, NoAnswer)
            return False
        if not isinstance(error, NotConfirmed) and self.link is self._shared:
            self.link = self._own()
        self._failure = error
        if self._failing_since is None:
            self._failing_since = _now()
        return True

    @property
    def failing_s(self) -> float:
        """How long the queue has failed although RabbitMQ answers."""
        return 0.0 if self._failing_since is None else _now() - self._failing_since

    async def examine(self) -> None:
        """Have a queue that has failed for long made again if it is sick; it takes a while."""
        if self.failing_s <= sickness.SICK_AFTER_S:
            return
        self._failing_since = None
        if not await self._examiner.is_made_again(self.queue) and self._failure is not None:
            self._troubles.note(self.queue, self._use, self._failure)

    async def _is_fault_of_queue(self, error: BrokerError) -> bool:
        if isinstance(error, NotConfirmed):
            return True
        if not is_fault_of_queue(error):
            return False
        if self.link.blocked:
            return False  # RabbitMQ reads nothing, whatever queue it is for
        if not isinstance(error, NoAnswer) or error.others_were_answered or self._is_in_doubt:
            return True
        # nobody was answered meanwhile: another connection will tell
        self._is_in_doubt = True
        await self.link.give_up(error)
        return False

    def note_success(self) -> None:
        """Note that the queue works."""
        self._failing_since, self._is_in_doubt = None, False
        if self._working_since is None:
            self._working_since = _now()
            self._troubles.clear(self.queue, self._use)

    @property
    def leads_back(self) -> bool:
        """Whether the queue has worked for long enough to return to the shared link."""
        return (
            self.link is not self._shared
            and self._working_since is not None
            and _now() - self._working_since > self._well_after_s
        )

    async def rejoin(self) -> None:
        """Return to the shared link; one that fails again must work for longer the next time."""
        own, self.link = self.link, self._shared
        self._well_after_s = min(LONGEST_APART_S, self._well_after_s * 2)
        await own.close()

    async def close(self) -> None:
        """Close the connection of its own, if it has one."""
        if self.link is not self._shared:
            await self.link.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
