"""Breaker: a host that fails again and again is left alone, and probed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from program_service.webhooks.breaker import (
    FAILURES_TO_OPEN,
    FORGOTTEN_S,
    UNLIMITED,
    Breakers,
)


@dataclass
class Clock:
    """A clock that stands still."""

    now: float = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def opened(clock: Clock) -> Breakers:
    """Return breakers whose circuit to `shop` has just opened."""
    breakers = Breakers(clock)
    for _ in range(FAILURES_TO_OPEN):
        assert breakers.wait_s("shop") == 0
        breakers.failed("shop", "it answered 500")
    return breakers


def test_circuit_opens_after_failures_in_a_row() -> None:
    breakers = opened(Clock())
    assert breakers.wait_s("shop") == 1.0
    assert breakers.wait_s("other") == 0
    report = breakers.report()["shop"]
    assert (report["failures"], report["probed_in_s"]) == (FAILURES_TO_OPEN, 1.0)
    assert report["error"] == "it answered 500"
    opened_at, probed_at = (datetime.fromisoformat(report[name]) for name in ("since", "probed_at"))
    assert timedelta(0) < probed_at - opened_at < timedelta(seconds=1.5)


def test_success_in_between_starts_the_count_anew() -> None:
    breakers = Breakers(Clock())
    for _ in range(10):
        for _ in range(FAILURES_TO_OPEN - 1):
            breakers.failed("shop")
        breakers.succeeded("shop")
    assert breakers.wait_s("shop") == 0
    assert breakers.report() == {}


def test_one_probe_at_a_time_after_the_pause() -> None:
    clock = Clock()
    breakers = opened(clock)
    clock.now += 1.0
    assert breakers.wait_s("shop") == 0
    assert breakers.wait_s("shop") > 0


def test_pauses_grow_to_a_minute() -> None:
    clock = Clock()
    breakers, pauses = opened(clock), []
    for _ in range(10):
        clock.now += 1_000
        assert breakers.wait_s("shop") == 0
        breakers.failed("shop")
        pauses.append(breakers.wait_s("shop"))
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_successful_probe_closes_the_circuit() -> None:
    clock = Clock()
    breakers = opened(clock)
    clock.now += 1.0
    assert breakers.wait_s("shop") == 0
    breakers.succeeded("shop")
    assert breakers.wait_s("shop") == 0
    assert breakers.wait_s("shop") == 0


def test_host_that_nobody_probes_any_more_is_forgotten_by_the_report() -> None:
    """Its endpoint has moved: it would be shown as broken for ever."""
    breakers = opened(clock := Clock())
    clock.now += FORGOTTEN_S
    assert breakers.report()
    clock.now += 2.0
    assert breakers.report() == {}
    assert breakers.wait_s("shop") == 0
    breakers.failed("shop")
    assert breakers.report()


def test_calls_that_began_before_the_circuit_opened_do_not_prolong_its_pause() -> None:
    """A hundred of them may be on their way, and would make it a minute at once."""
    breakers = opened(Clock())
    for _ in range(100):
        breakers.failed("shop", by="a call")
    assert breakers.wait_s("shop") == 1.0


def test_open_circuit_has_one_place_for_a_probe() -> None:
    breakers = Breakers(clock := Clock())
    assert breakers.circuit("shop") is None
    breakers.failed("shop", by="lease-1")
    circuit = breakers.circuit("shop")
    assert circuit is not None
    assert circuit.capacity() == UNLIMITED
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed("shop", by="lease-1")
    assert circuit.capacity() == 0
    clock.now += 1.0
    assert circuit.capacity() == 1
    circuit.holders["lease-2"] = "run-2"
    breakers.failed("shop", by="lease-2")
    assert (circuit.capacity(), circuit.probed_in_s, circuit.holders) == (0, 2.0, {})


def test_circuit_that_closes_is_told() -> None:
    closed: list[int] = []
    breakers = Breakers(Clock(), on_closed=lambda: closed.append(1))
    breakers.failed("shop")
    breakers.succeeded("shop")
    assert closed == []
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed("shop")
    breakers.succeeded("shop")
    breakers.succeeded("shop")
    assert closed == [1]
