"""Broker: what the rest knows of RabbitMQ, and of the queues in memory that stand in for it.

A wake-up names programs and nothing else, so losing, doubling or delaying one changes only when
something happens, never what.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

MAX_BUNDLE = 32
"""Programs that one wake-up names at most, to share the broker client's cost for a message."""

MAX_HOPS = 3
"""Hand-backs in a row that brought nothing; then a wake-up is dropped: the sweeper takes over."""


@dataclass(frozen=True, slots=True)
class Wakeup:
    """Programs of one queue to look at; hand-backs keep `published_at`, the database's time."""

    queue: str
    run_ids: tuple[str, ...]
    published_at: datetime
    hops: int = 0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A message to all workers: who executes this program under this lease should look at its row.

    Releases before leases were named leave it out.
    """

    run_id: str
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Quieted:
    """A message to all workers: this process takes no more programs."""

    process: str


Announcement: TypeAlias = Cancelled | Quieted


class Delivery(Protocol):
    """A wake-up that arrived and is not acknowledged yet."""

    wakeup: Wakeup

    async def acknowledge(self) -> None:
        """Tell the broker that it may forget the wake-up."""


class Subscription(Protocol):
    """The wake-ups of some queues, as they arrive."""

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""

    async def pause(self) -> Sequence[Delivery]:
        """Receive no more, and return what has arrived and was not taken."""

    async def resume(self) -> None:
        """Receive again."""


class Broker(Protocol):
    """One protocol, two drivers: RabbitMQ, and memory."""

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it; never raise."""

    def subscribe(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AbstractAsyncContextManager[Subscription]:
        """Receive the wake-ups of these queues, at most `prefetch` unacknowledged at a time."""

    async def announce(self, announcement: Announcement) -> None:
        """Tell all workers; that a cancel is lost is made good by the lease's renewal."""

    def on_announced(
        self, listener: Callable[[Announcement], None]
    ) -> AbstractAsyncContextManager[None]:
        """Call the listener for each announcement."""

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait in a queue; None when the broker does not answer."""
