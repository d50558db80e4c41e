"""Run a storm of so many seconds with a seed, and say what came of it: `make chaos`."""

import argparse
import asyncio
import logging
import sys
import time
from enum import IntEnum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.storm.facts import Facts
from chaos.storm.faults import without_effect
from chaos.storm.judging import judge
from chaos.storm.keeping import a_folder, keep, kept, want
from chaos.storm.report import report
from chaos.storm.schedule import plan
from chaos.storm.storm import Weather, storm
from private_postgres import private_postgres
from private_rabbitmq import private_rabbitmq


class Verdict(IntEnum):
    """What came of a storm; the exit code."""

    HELD = 0
    BROKEN = 1
    """A rule was broken."""
    PROVED_NOTHING = 3
    """Every rule held, but some kind of fault met nothing; 2 is a wrong use of the command."""


def main() -> int:
    """Run it, or judge again what was kept, and return a `Verdict`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--again", type=Path, help="judge the storm that is kept in this folder")
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # our own console loses its broker, too
    if given.again:
        return judged(kept(given.again))
    return blow(Weather(given.seed, given.seconds, plan(given.seed, given.seconds)))


def blow(weather: Weather) -> Verdict:
    """Let a storm pass over servers of its own, and judge it."""
    said = f"seed {weather.seed}, {weather.seconds:.0f} s, {len(weather.planned)} faults"
    print(said, flush=True)
    began = time.monotonic()
    with a_folder() as folder, private_postgres() as postgres, private_rabbitmq() as node:
        facts = asyncio.run(storm(folder, weather, postgres, node))
        keep(facts, folder)
        verdict = judged(facts)
        if verdict is Verdict.BROKEN:
            want(folder)
        print(f"{said}; {time.monotonic() - began:.0f} s in all")
        return verdict


def judged(facts: Facts) -> Verdict:
    """Print the table, and what is wrong."""
    broken, missed = judge(facts), without_effect(facts.planned)
    print(report(facts, broken))
    for kind in missed:
        print(f"met nothing: {kind}")
    if broken:
        return Verdict.BROKEN
    return Verdict.PROVED_NOTHING if missed else Verdict.HELD


if __name__ == "__main__":
    sys.exit(main())
