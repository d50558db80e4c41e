"""Bench: ours, the yardstick and the peers, side by side in one run.

    make bench                              everything, three times
    make bench ONLY=ours,yardstick REPEAT=1 PROGRAMS=2000
    python benchmarks/bench.py --quick      a look at whether all of it works

Each system gets empty tables and queues on the same servers, and each round begins with another
system. The figures of every run are kept in .bench/results/.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ours
import peer_runs
import plot
import yardstick_run
from grounds import BENCH, Grounds, grounds
from measuring import Figures
from peer_installs import PEERS, NotInstalled, install
from product import LOG_LEVEL, SLOTS
from report import machine, report
from targets import Round

PEERS_SHARE = 10
"""Peers are slower: they get a tenth of the programs."""

REQUESTS, QUICK_REQUESTS = 300, 20
PROGRAMS, QUICK_PROGRAMS = 10_000, 1_000
FINISHED_ROWS = 1_000_000

Measure = Callable[[Grounds], Coroutine[Any, Any, Figures]]


def systems(arguments: argparse.Namespace) -> dict[str, Measure]:
    """Return how each system is measured."""
    rows = 0 if arguments.quick else arguments.finished_rows
    requests = QUICK_REQUESTS if arguments.quick else REQUESTS
    plan = ours.Plan(arguments.programs, requests, rows)
    few = max(requests, arguments.programs // PEERS_SHARE)

    def of_peer(name: str) -> Measure:
        return lambda places: peer_runs.measure(PEERS[name], places, few, requests)

    measures: dict[str, Measure] = {
        "ours": lambda places: ours.measure(places, plan),
        "yardstick": lambda places: yardstick_run.measure(places, arguments.programs),
        **{name: of_peer(name) for name in PEERS},
    }
    unknown = set(arguments.only) - measures.keys()
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(measures)}")
    return {name: each for name, each in measures.items() if name in (arguments.only or measures)}


def installed(wanted: dict[str, Measure], places: Grounds) -> list[str]:
    """Install the peers, and leave out by name those that cannot be had."""
    names = []
    for name in wanted:
        try:
            if name in PEERS:
                install(PEERS[name], places)
        except NotInstalled as error:
            print(f"{name}: left out: {error}", flush=True)
        else:
            names.append(name)
    return names


def run_rounds(
    wanted: dict[str, Measure], names: Sequence[str], places: Grounds, repeat: int
) -> Iterator[list[Round]]:
    """Measure every system in each round, each round beginning with another one.

    Yields all rounds after each system, for a run that is broken off.
    """
    rounds: list[Round] = []
    for number in range(repeat):
        rounds.append({})
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            print(f"round {number + 1}: {name} ...", file=sys.stderr, flush=True)
            try:
                rounds[-1][name] = asyncio.run(wanted[name](places))
            except Exception as error:  # noqa: BLE001 - the others are measured all the same
                print(f"{name}: failed: {error!r}", flush=True)
            yield rounds


def new_file() -> Path:
    """Return where the raw figures of this run are kept."""
    folder = BENCH / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure ours, the yardstick and the peers.")
    parser.add_argument("--only", default="", help="systems, separated by commas")
    parser.add_argument("--repeat", type=int, default=0, help="rounds; 3, or 1 in quick mode")
    parser.add_argument("--programs", type=int, default=0, help="programs of a drain; 10,000")
    parser.add_argument("--finished-rows", type=int, default=FINISHED_ROWS, help="0: not at all")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    arguments = parser.parse_args()
    arguments.only = [name for name in arguments.only.split(",") if name]
    arguments.repeat = arguments.repeat or (1 if arguments.quick else 3)
    default = QUICK_PROGRAMS if arguments.quick else PROGRAMS
    arguments.programs = arguments.programs or default
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    wanted = systems(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the servers are stopped, too
    with grounds() as places:
        conditions = machine() | asyncio.run(places.described())
        conditions |= {
            "our log level": LOG_LEVEL,
            "our slots": str(SLOTS),
            "programs": f"{arguments.programs:,}",
        }
        names = installed(wanted, places)
        for name, value in conditions.items():
            print(f"{name}: {value}", flush=True)
        file, rounds = new_file(), []
        for rounds in run_rounds(wanted, names, places, arguments.repeat):
            file.write_text(json.dumps({"conditions": conditions, "rounds": rounds}, indent=1))
    print(f"\n{report(rounds)}\n\nraw figures: {file}")
    print(plot.draw(file))


if __name__ == "__main__":
    main()
