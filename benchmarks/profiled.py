"""Profiled: where the microseconds of a step go, by process, and in the worker by module.

    python benchmarks/profiled.py 5000          the table
    python benchmarks/profiled.py 5000 --functions
    python benchmarks/profiled.py 2000 --callbacks

The processes' CPU is measured without a profiler; cProfile, in a second drain, slows the worker and
says only how its time is divided.
"""

import argparse
import asyncio
import pstats
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from callbacks import endpoint
from drains import STEPS, Table, drained
from grounds import Grounds, grounds
from measuring import Figures
from ours import CALLBACK_JOBS, Plan, drain, product, register_callbacks
from product import COMMAND, Product

US_PER_S = 1_000_000
SHOWN = 25

Shares = dict[str, float]


async def measure(places: Grounds, programs: int, profile: Path) -> Figures:
    """Drain twice: once for the processes, once with a profiler in the worker."""
    async with product(places) as ours:
        figures = await drain(ours, places, Plan(programs, 0))
    async with product(places) as ours:
        await ours.submit(programs)
        await profile_drain(ours, programs, profile)
    return figures


async def measure_callbacks(places: Grounds, programs: int, profile: Path) -> None:
    """Drain callback jobs, with a profiler in the worker."""
    async with product(places) as ours, endpoint() as url:
        await register_callbacks(ours, url)
        await ours.submit(programs, {"jobs": CALLBACK_JOBS})
        await profile_drain(ours, programs, profile)


async def profile_drain(ours: Product, programs: int, profile: Path) -> None:
    """Drain what was submitted with a worker that writes a profile when it ends."""
    python = [sys.executable, "-m", "cProfile", "-o", str(profile)]
    with ours.running([*python, str(COMMAND), "work", "nothing", "--port", "0"]):
        await drained(Table(ours.database_url), programs)


def by_module(profile: Path) -> Shares:
    """Return {module or package: its share of the worker's own time}."""
    shares: defaultdict[str, float] = defaultdict(float)
    stats: Any = pstats.Stats(str(profile))
    for (file, _line, function), (_calls, _all, own_s, *_) in stats.stats.items():
        shares[_module(file, function)] += own_s / stats.total_tt
    return dict(shares)


def _module(file: str, function: str) -> str:
    path = Path(file)
    if file == "~":
        return function
    for root in ("program_workers", "program_service"):
        if root in path.parts:
            return "/".join(path.parts[path.parts.index(root) :]).removesuffix(".py")
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1]
    return path.parent.name if path.parent.name == "asyncio" else path.stem


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Say where the microseconds of a step go.")
    parser.add_argument("programs", type=int, nargs="?", default=5_000)
    parser.add_argument("--functions", action="store_true", help="and the worker's functions")
    parser.add_argument("--callbacks", action="store_true", help="of calls of endpoints instead")
    arguments = parser.parse_args()
    with grounds() as places, tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "worker.profile"
        if arguments.callbacks:
            asyncio.run(measure_callbacks(places, arguments.programs, profile))
        else:
            show_processes(asyncio.run(measure(places, arguments.programs, profile)))
        print("of the worker's time")
        shares = sorted(by_module(profile).items(), key=lambda each: -each[1])
        for module, share in shares[:SHOWN]:
            print(f"{module:60} {share:6.1%}")
        if arguments.functions:
            pstats.Stats(str(profile)).sort_stats("tottime").print_stats(60)


def show_processes(figures: Figures) -> None:
    """Print the processes' CPU for a step."""
    print(f"{figures['drain_per_s']:,.0f} programs/s")
    for name in ("worker", "service", "postgresql", "rabbitmq"):
        us = figures[f"{name}_cpus"] * US_PER_S / (figures["drain_per_s"] * STEPS)
        print(f"{name:40} {us:7.1f} us of CPU for a step")
    print()


if __name__ == "__main__":
    main()
