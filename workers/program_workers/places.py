"""Places: how many programs one limit lets run at a time in this worker, and which ones do."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from program_service.webhooks.breaker import UNLIMITED


class Places(Protocol):
    """The places of one limit."""

    reserved: int
    """How many are set aside for the claims that are on their way to the database."""

    @property
    def kind(self) -> str:
        """A stable word for the limit: `threads`, `max_concurrency` or `breaker`."""

    @property
    def holders(self) -> dict[str, str]:
        """Who holds a place, as {lease: run_id}, the longest first."""

    def capacity(self) -> float:
        """Return how many may run now."""


class Pool:
    """Places that one program after another holds: threads, or calls of one endpoint."""

    def __init__(self, kind: str, size: float = UNLIMITED) -> None:
        """Take the size, which may change while places are held."""
        self.kind = kind
        self.size = size
        self.holders: dict[str, str] = {}
        self.reserved = 0

    def capacity(self) -> float:
        """Return the size."""
        return self.size


def free(places: Places) -> float:
    """Return how many places are neither held nor set aside."""
    return max(0.0, places.capacity() - len(places.holders) - places.reserved)


def obstacle(limits: Sequence[Places]) -> Places | None:
    """Return the first limit that has no place, None if all of them have one."""
    return next((each for each in limits if free(each) < 1), None)


def set_aside(limits: Iterable[Places], count: int) -> None:
    """Set places aside for claims that are on their way; a negative count undoes that."""
    for places in limits:
        places.reserved += count


class Admission:
    """Decide of one program after another whether there is room beside those before.

    What is set aside for claims is not left out: those that are decided on are claimed after them.
    """

    def __init__(self) -> None:
        """Begin with what nobody holds."""
        self._left: dict[int, float] = {}

    def admits(self, limits: Sequence[Places]) -> bool:
        """Say whether each of these limits has a place, and count them as taken if so."""
        left = [
            self._left.setdefault(id(each), each.capacity() - len(each.holders)) for each in limits
        ]
        if any(count < 1 for count in left):
            return False
        self._left |= {id(each): count - 1 for each, count in zip(limits, left, strict=True)}
        return True
