"""Quotas: so many of something within a window of time, for each who comes.

They are kept in the memory of one process: each process counts for itself, and a restart forgets.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

MOST_SUBJECTS = 10_000
"""Who is counted at a time, a megabyte or two; beyond, the oldest window is forgotten."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a quota, and in how many seconds all of it is there again."""

    remaining: int
    reset_s: int
    overdrawn: int
    """How many came beyond it: 1 for the first."""


class Quota:
    """Windows begin with the first that comes, and do not slide: twice `most` may come at a turn.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, most: int, window_s: float, *, subjects: int = MOST_SUBJECTS) -> None:
        """Allow so many in each window."""
        self.most = most
        self.window_s = window_s
        self._subjects = subjects
        # in the order of their ends: each begins when it is put last
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def spend(self, subject: str, now: float) -> Standing:
        """Count one, and say what is left."""
        window = self._windows.get(subject)
        if window is None or window.ends_at <= now:
            window = self._begin(subject, now)
        window.spent += 1
        return Standing(
            remaining=max(0, self.most - window.spent),
            reset_s=max(1, ceil(window.ends_at - now)),
            overdrawn=max(0, window.spent - self.most),
        )

    def _begin(self, subject: str, now: float) -> _Window:
        self._windows.pop(subject, None)
        if len(self._windows) >= self._subjects:
            self._windows.popitem(last=False)
        window = self._windows[subject] = _Window(now + self.window_s)
        return window
