"""Places: how many notifications are sent at a time, in all and of each party.

A party is a host, an API key, or everything that has failed before. A party whose share is full
waits, and nobody else does: its notifications are postponed until a place is likely to be free, one
after the other, so that those of other parties are found behind them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MOST = 500
"""In all; each is a socket."""
MOST_OF_HOST = 50
MOST_RETRIES = 250
"""Of those that have failed before: however many receivers are dead, half of the places are for
notifications that are sent for the first time."""
KEY_SHARE = 6
"""A key may hold six times as many places as are free: 429 if it is alone, 230 if there are two. So
there is always a free place for another key (A. Choudhury and E. Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking, 1998)."""

FIRST_GUESS_S, GUESSED = 0.05, 50
"""Before any place is given back, so many are expected within so many seconds: who comes too early
waits again, and who comes too late leaves a place free."""
MOST_COUNTED = 500
"""Places given back that the pace of a line is calculated from: older ones count half."""
MOST_LINES, OVER_S = 1_000, 5.0
"""Lines that are remembered, and for how long after the last one in them has had its turn."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.2, 600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants to hold a place: the host that is called, and the key that asked for it."""

    host: str
    key: str | None
    is_retry: bool = False

    def parties(self) -> Iterator[tuple[str, str | None]]:
        """Yield the parties that it counts for."""
        yield "host", self.host
        yield "key", self.key
        if self.is_retry:
            yield "retries", None


Party = tuple[str, str | None]


@dataclass(slots=True)
class Line:
    """Those of one party that wait: how often it gives a place back, and when the last gets one."""

    began: float
    ends_at: float
    given_back: float = 0

    def give_back(self, now: float) -> None:
        """Count a place that was given back."""
        self.given_back += 1
        if self.given_back > MOST_COUNTED:
            self.given_back /= 2
            self.began = (self.began + now) / 2

    def is_over(self, now: float) -> bool:
        """Return whether nobody is in it any more."""
        return self.ends_at + OVER_S < now

    def pace_s(self, now: float) -> float:
        """Return after how many seconds a place becomes free, on average."""
        return (now - self.began + FIRST_GUESS_S) / (self.given_back + GUESSED)


@dataclass(slots=True)
class Places:
    """The places of one process."""

    clock: Callable[[], float] = time.monotonic
    held: Counter[Party | None] = field(default_factory=Counter)
    """How many each party holds; None: all together."""
    lines: dict[Party, Line] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """How many places are free."""
        return MOST - self.held[None]

    def draft(self) -> "Places":
        """Return a copy in which places can be taken on trial."""
        return Places(self.clock, self.held.copy(), self.lines)

    def take(self, wish: Wish) -> None:
        """Take a place."""
        self.held.update([None, *wish.parties()])

    def give_back(self, wish: Wish) -> None:
        """Give back a place."""
        self.held.subtract([None, *wish.parties()])
        for party in wish.parties():
            if party in self.lines:
                self.lines[party].give_back(self.clock())
            if not self.held[party]:
                del self.held[party]

    def full(self, wish: Wish) -> Party | None:
        """Return the first party whose share is full; None: there is a place."""
        for party in wish.parties():
            if self.held[party] >= self._share(party):
                return party
        return None

    def wait_s(self, party: Party) -> float:
        """Return after how many seconds one more of this party is likely to find a place."""
        now = self.clock()
        line = self._line(party, now)
        line.ends_at = min(max(line.ends_at, now) + line.pace_s(now), now + LONGEST_WAIT_S)
        return max(SHORTEST_WAIT_S, line.ends_at - now)

    def _line(self, party: Party, now: float) -> Line:
        line = self.lines.get(party)
        if line is None or line.is_over(now):
            if len(self.lines) >= MOST_LINES:
                self.lines = {
                    key: each for key, each in self.lines.items() if not each.is_over(now)
                }
            line = self.lines[party] = Line(began=now, ends_at=now)
        return line

    def _share(self, party: Party) -> int:
        kind, _ = party
        shares = {"host": MOST_OF_HOST, "retries": MOST_RETRIES, "key": KEY_SHARE * self.free}
        return shares[kind]
