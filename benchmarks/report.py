"""Report: the targets, the missed ones first, and the systems side by side, as Markdown tables."""

import os
from collections.abc import Iterable, Sequence

from measuring import Figures, merged
from targets import Round, judged

BIG = 100

COLUMNS = {
    "submit_per_s": "submit/s",
    "drain_per_s": "drain/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_s_per_1000_steps": "CPU s / 1,000 steps",
    "worker_peak_mib": "MiB",
}
NO_COLUMN = {"steps_twice"}


def report(rounds: Sequence[Round]) -> str:
    """Write all tables."""
    return "\n".join(
        [
            *_table(["target", "wanted", "measured", ""], _targets(rounds)),
            "",
            *_table(["system", *COLUMNS.values()], _systems(rounds)),
            "",
            *_table(["ours and the yardstick, also", "median", "least", "most"], _rest(rounds)),
        ]
    )


def _targets(rounds: Sequence[Round]) -> Iterable[list[str]]:
    for verdict in judged(rounds):
        value = "" if verdict.value is None else shown(verdict.value)
        yield [verdict.target.name, verdict.target.wanted, value, verdict.word]


def _systems(rounds: Sequence[Round]) -> Iterable[list[str]]:
    for system, figures in _merged(rounds).items():
        cells = [_spread(figures[name]) if name in figures else "" for name in COLUMNS]
        yield [system, *cells]


def _rest(rounds: Sequence[Round]) -> Iterable[list[str]]:
    for system, figures in _merged(rounds).items():
        for name, values in figures.items():
            if name not in COLUMNS and system in {"ours", "yardstick"}:
                yield [f"{system}: {name}", *map(shown, values)]


def _merged(rounds: Sequence[Round]) -> dict[str, dict[str, tuple[float, float, float]]]:
    runs: dict[str, list[Figures]] = {}
    for each in rounds:
        for system, figures in each.items():
            runs.setdefault(system, []).append(figures)
    order = sorted(runs, key=lambda system: (system not in {"ours", "yardstick"}, system))
    return {system: merged(runs[system]) for system in order}


def _spread(values: tuple[float, float, float]) -> str:
    median, least, most = map(shown, values)
    return median if least == most else f"{median} ({least} to {most})"


def shown(value: float) -> str:
    """Write a number with three digits, or whole when it is bigger."""
    return f"{value:,.0f}" if value >= BIG else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def machine() -> dict[str, str]:
    """Describe the machine, and how busy it is with other things."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {"CPUs": str(os.cpu_count()), "load average at the start": load}
