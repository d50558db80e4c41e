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

FIRST_GUESS_S = 0.05
"""How long a notification is expected to take before one has ended."""
WEIGHT = 0.2
"""Of the newest duration in the moving average."""
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
    """Those of one party that wait: how long a place is held, and when the next one is free."""

    since: float
    """When the last place was given back, or the line began."""
    mean_s: float = FIRST_GUESS_S
    ends_at: float = 0.0

    def hold_s(self, now: float) -> float:
        """Return how long a place is held: at least as long as none has been given back."""
        return max(self.mean_s, now - self.since)


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

    def give_back(self, wish: Wish, *, after_s: float) -> None:
        """Give back a place that was held for this long."""
        self.held.subtract([None, *wish.parties()])
        for party in wish.parties():
            if self.held[party] > 0:
                line = self._line(party)
                line.mean_s += WEIGHT * (after_s - line.mean_s)
                line.since = self.clock()
            else:
                del self.held[party]
                self.lines.pop(party, None)

    def full(self, wish: Wish) -> Party | None:
        """Return the first party whose share is full; None: there is a place."""
        for party in wish.parties():
            if self.held[party] >= self._share(party):
                return party
        return None

    def wait_s(self, party: Party) -> float:
        """Return after how many seconds one more of this party is likely to find a place."""
        line, now = self._line(party), self.clock()
        line.ends_at = max(line.ends_at, now) + line.hold_s(now) / max(1, self._share(party))
        line.ends_at = min(line.ends_at, now + LONGEST_WAIT_S)
        return max(SHORTEST_WAIT_S, line.ends_at - now)

    def _line(self, party: Party) -> Line:
        return self.lines.setdefault(party, Line(self.clock()))

    def _share(self, party: Party) -> int:
        kind, _ = party
        shares = {"host": MOST_OF_HOST, "retries": MOST_RETRIES, "key": KEY_SHARE * self.free}
        return shares[kind]
