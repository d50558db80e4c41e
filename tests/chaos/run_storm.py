"""Run a storm of so many seconds with a seed, and say what came of it: `make chaos`."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.storm.faults import without_effect
from chaos.storm.judging import judge
from chaos.storm.keeping import keep
from chaos.storm.report import report
from chaos.storm.schedule import plan
from chaos.storm.storm import Weather, storm
from private_postgres import private_postgres
from private_rabbitmq import private_rabbitmq


def main() -> int:
    """Run it; return 1 when a rule was broken, or a fault met nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", action="store_true", help="keep what is known of it anyhow")
    given = parser.parse_args()
    weather = Weather(given.seed, given.seconds, plan(given.seed, given.seconds))
    folder = Path(tempfile.mkdtemp(prefix="program-executor-storm-"))
    print(f"seed {given.seed}, {given.seconds:.0f} s, {len(weather.planned)} faults; {folder}")
    logging.basicConfig(level=logging.CRITICAL)  # our own console loses its broker, too
    began = time.monotonic()
    with private_postgres() as postgres, private_rabbitmq() as node:
        facts = asyncio.run(storm(folder, weather, postgres, node))
    kept = keep(facts, folder)
    broken = judge(facts)
    print(report(facts, broken))
    print(f"seed {given.seed}, {time.monotonic() - began:.0f} s in all")
    missed = without_effect(facts.planned)
    for kind in missed:
        print(f"no effect: {kind}")
    is_bad = bool(broken or missed)
    if is_bad or given.keep:
        print(f"kept: {kept}, the journal and the logs")
    else:
        shutil.rmtree(folder)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
