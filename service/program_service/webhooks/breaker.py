"""Breaker: after repeated failures a host is left alone, and probed with growing pauses.

Kept by each process for itself (M. Nygard, "Release It!", 2007, the circuit breaker).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from program_service.bookkeeping.lifecycle import Json

FAILURES_TO_OPEN = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
PROBE_S = 5.0
"""How long others wait for the outcome of a probe."""

FORGOTTEN_S = 3_600.0
"""After how long a host is reported no more that nobody probes: its job is gone or elsewhere."""


@dataclass(slots=True)
class Circuit:
    """What is known of one host."""

    failures: int = 0
    pause_s: float = FIRST_PAUSE_S
    closed_until: float = 0.0
    """Until this monotonic time nobody calls; 0 while the circuit is closed."""


class Breakers:
    """The circuits of all hosts that did not answer well."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with confidence in everybody."""
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}

    def wait_s(self, host: str) -> float:
        """Return how long to leave a host alone; 0 lets the asker call, or probe, now."""
        circuit = self._circuits.get(host)
        if circuit is None or circuit.failures < FAILURES_TO_OPEN:
            return 0.0
        left_s = circuit.closed_until - self._clock()
        if left_s > 0:
            return left_s
        circuit.closed_until = self._clock() + PROBE_S  # one probe at a time
        return 0.0

    def succeeded(self, host: str) -> None:
        """Trust a host again."""
        self._circuits.pop(host, None)

    def failed(self, host: str) -> None:
        """Note a failure; the fifth in a row opens the circuit, and a failed probe doubles it."""
        circuit = self._circuits.setdefault(host, Circuit())
        circuit.failures += 1
        if circuit.failures < FAILURES_TO_OPEN:
            return
        if circuit.failures > FAILURES_TO_OPEN:
            circuit.pause_s = min(LONGEST_PAUSE_S, circuit.pause_s * 2)
        circuit.closed_until = self._clock() + circuit.pause_s

    def report(self) -> Json:
        """Return {host: {failures, probed_in_s}} of the open circuits that somebody looks after."""
        now = self._clock()
        return {
            host: {
                "failures": circuit.failures,
                "probed_in_s": round(max(0.0, circuit.closed_until - now), 1),
            }
            for host, circuit in sorted(self._circuits.items())
            if circuit.failures >= FAILURES_TO_OPEN and circuit.closed_until > now - FORGOTTEN_S
        }
