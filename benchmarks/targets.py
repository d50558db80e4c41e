"""Targets: what is to be reached, as ratios of what was measured in the same run."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from measuring import Figures

Round: TypeAlias = dict[str, Figures]
"""{system: what was measured on it}, one after the other on the same servers."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted: at least or at most so much."""

    name: str
    unit: str
    measured: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def wanted(self) -> str:
        """The bound in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g} {self.unit}"
        return f"at most {self.at_most:g} {self.unit}"

    def is_met_by(self, value: float) -> bool:
        """Say whether it is reached."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is None or value <= self.at_most


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what was measured for it: the median of all rounds; None when nothing was."""

    target: Target
    value: float | None

    @property
    def word(self) -> str:
        """How it stands."""
        if self.value is None:
            return "not measured"
        return "met" if self.target.is_met_by(self.value) else "MISSED"


def judged(rounds: Sequence[Round]) -> list[Verdict]:
    """Judge all targets, the missed ones first, then what was not measured."""
    order = ("MISSED", "not measured", "met")
    verdicts = [Verdict(target, _median(target, rounds)) for target in TARGETS]
    return sorted(verdicts, key=lambda verdict: order.index(verdict.word))


def _median(target: Target, rounds: Sequence[Round]) -> float | None:
    values = []
    for each in rounds:
        try:
            values.append(target.measured(each))
        except KeyError:  # the system was left out
            continue
    return statistics.median(values) if values else None


def _ratio(name: str, other: str, other_name: str = "") -> Callable[[Round], float]:
    """Compare a figure of ours with another system's."""
    return lambda of: of["ours"][name] / of[other][other_name or name]


def _within(name: str, other_name: str) -> Callable[[Round], float]:
    """Compare two figures of ours."""
    return lambda of: of["ours"][name] / of["ours"][other_name]


def _limiting_cpus(of: Round) -> float:
    """Return how many CPUs all processes used together while two workers drained."""
    names = ("worker", "service", "postgresql", "rabbitmq")
    return sum(of["ours"][f"two_{name}_cpus"] for name in names)


TARGETS = (
    Target(
        "drain, in-process jobs, one worker",
        "of the yardstick",
        _ratio("drain_per_s", "yardstick"),
        at_least=0.8,
    ),
    Target(
        "drain, two workers",
        "of one worker (or no CPU is left: see below)",
        _within("two_drain_per_s", "drain_per_s"),
        at_least=1.6,
    ),
    Target(
        "POST /programs, 32 connections",
        "of an empty handler",
        _within("submit_per_s", "empty_per_s"),
        at_least=0.7,
    ),
    Target(
        "POST /programs/batch of 500",
        "of the yardstick's submit",
        _ratio("batch_per_s", "yardstick", "submit_per_s"),
        at_least=0.6,
    ),
    Target("latency p50", "of Restate's", _ratio("p50_ms", "restate"), at_most=1.0),
    Target("latency p50", "of Dramatiq's", _ratio("p50_ms", "dramatiq"), at_most=2.0),
    Target("latency p99", "of p50", _within("p99_ms", "p50_ms"), at_most=3.0),
    Target(
        "drain, callback jobs",
        "of Restate's HTTP calls",
        lambda of: of["ours"]["callbacks_per_s"] / of["restate_calls"]["drain_per_s"],
        at_least=1.5,
    ),
    Target(
        "drain, callback jobs",
        "of the plain client's calls",
        lambda of: 3 * of["ours"]["callbacks_per_s"] / of["ours"]["plain_calls_per_s"],
        at_least=0.7,
    ),
    Target(
        "worker CPU for 1,000 steps",
        "of the yardstick",
        _ratio("cpu_s_per_1000_steps", "yardstick"),
        at_most=2.0,
    ),
    Target(
        "worker memory at 500 slots", "MiB", lambda of: of["ours"]["worker_peak_mib"], at_most=120
    ),
    Target(
        "service memory, all queued",
        "of that with 10 queued",
        _within("service_many_mib", "service_few_mib"),
        at_most=1.05,
    ),
    Target(
        "drain beside 1,000,000 finished rows",
        "of that in an empty table",
        _within("history_drain_per_s", "drain_per_s"),
        at_least=0.9,
    ),
    Target("SQLite, `dev`", "programs/s", lambda of: of["ours"]["sqlite_per_s"], at_least=300),
)
