"""Breaker: a party that fails again and again is left alone, and probed with growing pauses.

A party is a host that accepts no connection, or a job whose endpoint fails: one bad path of a host
says nothing about the others. Each process keeps breakers of its own (M. Nygard, "Release It!",
2007, the circuit breaker).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from program_service.bookkeeping.lifecycle import Json

FAILURES_TO_OPEN = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

FORGOTTEN_S = 3_600.0
"""How long an open breaker is reported that nobody probes: its job is gone or has moved."""

PROBE_S = 5.0
"""How long others wait for the outcome of a probe that `wait_s` allowed."""

UNLIMITED = float("inf")
ANYBODY = ""

MAX_ERROR = 500
"""Characters of an error in a report."""


@dataclass(slots=True, eq=False)
class Circuit:
    """What is known of one party; while it is open, it has a place for one call: the probe."""

    clock: Callable[[], float]
    failures: int = 0
    pause_s: float = FIRST_PAUSE_S
    closed_until: float = 0.0
    """The monotonic time of the next probe."""
    since: datetime | None = None
    """When it opened, by the clock of this host."""
    error: str = ""
    holders: dict[str, str] = field(default_factory=dict)
    """The probe, as {who makes it: for what}; calls that began before it opened are not here."""
    reserved: int = 0
    kind: str = "breaker"

    @property
    def is_open(self) -> bool:
        """Whether the party is left alone."""
        return self.failures >= FAILURES_TO_OPEN

    @property
    def probed_in_s(self) -> float:
        """In how many seconds a probe may begin."""
        return max(0.0, self.closed_until - self.clock())

    def capacity(self) -> float:
        """Return how many calls there may be: any, none, or one probe."""
        if not self.is_open:
            return UNLIMITED
        return 0 if self.probed_in_s > 0 else 1

    def wait_s(self) -> float:
        """Return for how long nobody may call; 0 lets the asker call, or probe, now."""
        if self.is_open and self.probed_in_s == 0:
            self.closed_until = self.clock() + PROBE_S
            self.holders[ANYBODY] = ""
            return 0.0
        return self.probed_in_s if self.is_open else 0.0

    def fail(self, error: str, *, by: str) -> None:
        """Count a failure: the fifth in a row opens the circuit, a failed probe doubles the pause.

        Calls that began before it opened, perhaps a hundred, say nothing new.
        """
        was_open, is_probe = self.is_open, self.holders.pop(by, None) is not None
        self.failures += 1
        self.error = error[:MAX_ERROR]
        if is_probe:
            self.pause_s = min(LONGEST_PAUSE_S, self.pause_s * 2)
        elif was_open or not self.is_open:
            return
        self.since = self.since or datetime.now(UTC)
        self.closed_until = self.clock() + self.pause_s

    def report(self) -> Json:
        """Return what people should know of it."""
        probed_at = datetime.now(UTC) + timedelta(seconds=self.probed_in_s)
        return {
            "failures": self.failures,
            "probed_in_s": round(self.probed_in_s, 1),
            "probed_at": probed_at.isoformat(),
            "since": self.since.isoformat() if self.since else None,
            "error": self.error,
        }


class Breakers:
    """The circuits of the parties of one kind that failed last."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with confidence in everybody; `on_closed` is called when a circuit closes."""
        self._clock = clock
        self._on_closed = on_closed
        self._circuits: dict[str, Circuit] = {}

    def __bool__(self) -> bool:
        """Say whether any party failed last."""
        return bool(self._circuits)

    def circuit(self, party: str) -> Circuit | None:
        """Return the circuit of a party; None if it failed never, or not since it succeeded."""
        return self._circuits.get(party)

    def succeeded(self, party: str) -> None:
        """Trust a party again."""
        circuit = self._circuits.pop(party, None)
        if circuit is not None and circuit.is_open:
            self._on_closed()

    def wait_s(self, party: str) -> float:
        """Return for how long to leave a party alone; 0 lets the asker call, or probe, now."""
        circuit = self._circuits.get(party)
        return circuit.wait_s() if circuit else 0.0

    def failed(self, party: str, error: str = "", *, by: str = ANYBODY) -> None:
        """Note that a call failed, how, and whose it was."""
        if party not in self._circuits:
            self._circuits[party] = Circuit(self._clock)
        self._circuits[party].fail(error, by=by)

    def report(self) -> dict[str, Json]:
        """Return {party: what is known} of the open circuits that somebody looks after."""
        since = self._clock() - FORGOTTEN_S
        return {
            party: circuit.report()
            for party, circuit in sorted(self._circuits.items())
            if circuit.is_open and circuit.closed_until > since
        }
