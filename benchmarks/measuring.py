"""Measuring: what processes use, read from /proc, and what several runs say together."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Figures: TypeAlias = dict[str, float]
"""{what was measured in one run: how much}; the unit stands in the name."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB_PER_MIB = 1_024
PARENT, USER_TICKS, SYSTEM_TICKS = 1, 11, 12
"""Fields of /proc/PID/stat, counted from after the name."""


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its living descendants have used."""
    stats = (_stat(each) for each in _tree(pid))
    return sum(int(each[USER_TICKS]) + int(each[SYSTEM_TICKS]) for each in stats) / TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process and its descendants."""
    return sum(_status(each, "VmRSS") for each in _tree(pid))


def peak_mib(pid: int) -> float:
    """Return the most resident memory that a process and its descendants had."""
    return sum(_status(each, "VmHWM") for each in _tree(pid))


def _tree(pid: int) -> list[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            stat = _stat(int(folder.name))
            parents[int(folder.name)] = int(stat[PARENT])
    found = [pid]
    for each in found:  # it grows meanwhile
        found.extend(child for child, parent in parents.items() if parent == each)
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may contain spaces; zeros for one that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["0"] * 13


def _status(pid: int, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(each.split()[1]) for each in lines if each.startswith(field)) / KIB_PER_MIB


def percentiles_ms(seconds: Sequence[float]) -> Figures:
    """Return the median and the 99th percentile."""
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[-1]
    return {"p50_ms": statistics.median(seconds) * 1_000, "p99_ms": p99 * 1_000}


def merged(runs: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Return {figure: (median, least, most)} of several runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    values = {name: [run[name] for run in runs if name in run] for name in names}
    return {name: (statistics.median(of), min(of), max(of)) for name, of in values.items()}
