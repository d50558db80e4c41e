"""Bars: the last hour as a drawing, a bar for each minute."""

from collections.abc import Sequence
from dataclasses import dataclass

from program_service.bookkeeping.ledger.figures import ENDS, Minute
from program_service.bookkeeping.lifecycle import Status

HEIGHT = 100
"""Units of the drawing; a bar and its gap are ten units wide."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute: how many programs finished and errored, and how high that is drawn."""

    x: int
    minute: Minute
    finished: int
    errored: int
    good_height: float
    bad_height: float

    @property
    def good_y(self) -> float:
        """Where the upper part begins, counted from above."""
        return HEIGHT - self.good_height

    @property
    def bad_y(self) -> float:
        """Where the part of the errored ones begins, on top of the others."""
        return self.good_y - self.bad_height


def bars(minutes: Sequence[Minute]) -> list[Bar]:
    """Draw minutes so that the busiest fills the height."""
    counts = [(_ended(each, Status.FINISHED), _ended(each, Status.ERRORED)) for each in minutes]
    scale = HEIGHT / max([1, *map(sum, counts)])
    return [
        Bar(index * 10, minute, finished, errored, finished * scale, errored * scale)
        for index, (minute, (finished, errored)) in enumerate(zip(minutes, counts, strict=True))
    ]


def _ended(minute: Minute, status: Status) -> int:
    return sum(count for outcome, count in minute.counts.items() if ENDS.get(outcome) is status)
