"""Broker: what the rest knows of RabbitMQ, and of the queues in memory that stand in for it.

A wake-up names programs and nothing else, so losing, doubling or delaying one changes only when
something happens, never what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from program_service.loops.supervisor import Loop

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
    """A message to workers of the release before: this process takes no more programs.

    Newer workers read the request in their rows, so that a message alone stops nobody.
    """

    process: str


Announcement: TypeAlias = Cancelled | Quieted


class Delivery(Protocol):
    """A wake-up that arrived and is not acknowledged yet."""

    wakeup: Wakeup

    async def acknowledge(self) -> None:
        """Tell the broker that it may forget the wake-up."""


class Subscription(Protocol):
    """The wake-ups of some queues, as they arrive."""

    @property
    def loops(self) -> Sequence[Loop]:
        """What must run while wake-ups are to arrive; they return to their queues with its end."""

    async def next(self) -> Delivery:
        """Wait for the next wake-up."""

    async def pause(self) -> Sequence[Delivery]:
        """Receive no more, and return what has arrived and was not taken."""

    def resume(self) -> None:
        """Receive again, soon."""


@dataclass(frozen=True, slots=True)
class KnownTrouble:
    """What is wrong with a broker, as far as those know who use it."""

    text: str
    since: float
    """In monotonic time; infinite for what is true at the moment."""


@dataclass(frozen=True, slots=True)
class BrokerReading:
    """What a broker looked like at some moment."""

    depths: Mapping[str, int]
    """{queue: wake-ups that wait there}, without those that could not be counted."""
    trouble: str | None = None
    """What is wrong with all of it, if anything: `down`, or `blocked: memory alarm`."""
    detail: str = ""
    """The same in the words of the driver, with names and addresses; not for strangers."""
    queue_troubles: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with single queues."""


class Depths(Protocol):
    """Whoever can count what waits in a queue."""

    async def depth(self, queue: str) -> int | None:
        """Count the wake-ups that wait; None when the broker does not answer."""


class Broker(Depths, Protocol):
    """One protocol, two drivers: RabbitMQ, and memory."""

    @property
    def loops(self) -> Sequence[Loop]:
        """What must run in each process that publishes or announces."""

    @property
    def trouble(self) -> KnownTrouble | None:
        """What is wrong with it, as far as that is known without asking it."""

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Send wake-ups and say of each whether the broker confirmed it; never raise."""

    def subscribe(self, queues: Sequence[str], *, prefetch: int) -> Subscription:
        """Receive the wake-ups of these queues, at most `prefetch` unacknowledged at a time."""

    async def announce(self, announcement: Announcement) -> None:
        """Tell all workers soon, without waiting for the broker; the message may be lost."""

    def listener(self, hear: Callable[[Announcement], None]) -> Loop:
        """Make a loop that calls `hear` for each announcement."""

    async def read(self, queues: Sequence[str]) -> BrokerReading:
        """Look at the broker, and count the wake-ups that wait in these queues; never raise."""
