"""Simulated: what many workers and a bigger PostgreSQL would do, from costs that were measured.

    python benchmarks/simulated.py              the tables of docs/scaling.md, in minutes

A discrete-event model, with simpy, of what decides: a worker is one core that runs steps and writes
their outcomes in batches, over a few lanes; PostgreSQL is so many cores and one log on disk, whose
flushes are shared by all that wait for one. Claims are part of what a step costs. What is left out:
RabbitMQ, which sends a wake-up for 32 programs, and locks, which different programs do not share.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LANES, LIMIT = 2, 250
"""Batches of a worker that are on their way at a time, and the rows of one: `recorder.py`."""

RUN_AT_ONCE = 50
"""Steps that a worker's loop runs before it looks at anything else."""

SEED, SPREAD = 7, 0.5
"""Jobs take their time, give or take a half."""

US, MS = 1e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Costs:
    """What things take, in seconds and bytes; docs/performance.md says what was measured."""

    run: float = 46 * US
    write_row: float = 12 * US
    write_batch: float = 250 * US
    postgres_row: float = 42 * US
    postgres_batch: float = 250 * US
    network: float = 0.5 * MS
    flush: float = 1 * MS
    log_bytes: float = 1_300
    log_bytes_per_s: float = 400e6


@dataclass(frozen=True, slots=True)
class Case:
    """What is simulated."""

    workers: int
    cores: int
    job_s: float = 0.0
    slots: int = 500


@dataclass(slots=True)
class World:
    """What the processes of a simulation share."""

    env: Any
    postgres: Any
    case: Case
    costs: Costs
    steps: int = 0
    postgres_s: float = 0.0
    disk_s: float = 0.0
    worker_s: float = 0.0
    batches: int = 0
    flushing: list[tuple[Any, float]] = field(default_factory=list)
    wanted: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a simulation."""

    steps_per_s: float
    postgres_use: float
    disk_use: float
    worker_use: float
    rows_in_batch: float


def simulate(case: Case, costs: Costs, *, seconds: float) -> Outcome:
    """Run a case, after some time to get going."""
    import simpy  # type: ignore[import-not-found]  # noqa: PLC0415 - its own venv

    random.seed(SEED)
    env = simpy.Environment()
    world = World(env, simpy.Resource(env, case.cores), case, costs)
    world.wanted = env.event()
    env.process(flusher(world))
    for _ in range(case.workers):
        Worker(world, simpy)
    warm, seconds = 0.5 + 3 * case.job_s, max(seconds, 3 * case.job_s)
    env.run(until=warm)
    world.steps, world.batches = 0, 0
    world.postgres_s, world.disk_s, world.worker_s = 0.0, 0.0, 0.0
    env.run(until=warm + seconds)
    return Outcome(
        world.steps / seconds,
        world.postgres_s / seconds / case.cores,
        world.disk_s / seconds,
        world.worker_s / seconds / case.workers,
        world.steps / max(1, world.batches),
    )


class Worker:
    """A worker: its core, the steps that can run, and the outcomes that wait to be written."""

    def __init__(self, world: World, simpy: Any) -> None:
        """Start its loop and its lanes, with all slots taken."""
        self.world, self.env = world, world.env
        self.core = simpy.Resource(self.env, 1)
        self.outcomes = 0
        self.ready = world.case.slots
        self.has_ready, self.has_outcomes = self.env.event(), self.env.event()
        self.env.process(self.loop())
        for _ in range(LANES):
            self.env.process(self.lane())

    def loop(self) -> Generator[Any, Any, None]:
        """Run what can run."""
        while True:
            while not self.ready:
                self.has_ready = self.env.event()
                yield self.has_ready
            some = min(self.ready, RUN_AT_ONCE)
            self.ready -= some
            yield from self.compute(some * self.world.costs.run)
            if job_s := self.world.case.job_s:
                for _ in range(some):
                    self.env.process(self.job(job_s))
            else:
                self.end(some)

    def job(self, job_s: float) -> Generator[Any, Any, None]:
        """Let a job take its time."""
        spread = random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - no secret
        yield self.env.timeout(job_s * spread)
        self.end(1)

    def end(self, some: int) -> None:
        """Have the outcomes of steps written."""
        self.outcomes += some
        if not self.has_outcomes.triggered:
            self.has_outcomes.succeed()

    def lane(self) -> Generator[Any, Any, None]:
        """Write batches: on this core, over the network, on PostgreSQL's cores, to its disk."""
        world, costs = self.world, self.world.costs
        while True:
            while not self.outcomes:
                if self.has_outcomes.triggered:
                    self.has_outcomes = self.env.event()
                yield self.has_outcomes
            some = min(self.outcomes, LIMIT)
            self.outcomes -= some
            yield from self.compute(costs.write_batch + some * costs.write_row)
            yield self.env.timeout(costs.network / 2)
            with world.postgres.request() as core:
                yield core
                taken = costs.postgres_batch + some * costs.postgres_row
                yield self.env.timeout(taken)
                world.postgres_s += taken
            yield flushed(world, some * costs.log_bytes)
            yield self.env.timeout(costs.network / 2)
            world.steps += some
            world.batches += 1
            self.ready += some
            if not self.has_ready.triggered:
                self.has_ready.succeed()

    def compute(self, taken: float) -> Iterator[Any]:
        """Use this worker's core."""
        with self.core.request() as core:
            yield core
            yield self.env.timeout(taken)
            self.world.worker_s += taken


def flushed(world: World, size: float) -> Any:
    """Return the event of a commit's log being on disk."""
    done = world.env.event()
    world.flushing.append((done, size))
    if not world.wanted.triggered:
        world.wanted.succeed()
    return done


def flusher(world: World) -> Generator[Any, Any, None]:
    """Write the log: one flush for all commits that came while the last one ran."""
    costs = world.costs
    while True:
        while not world.flushing:
            world.wanted = world.env.event()
            yield world.wanted
        commits, world.flushing = world.flushing, []
        size = sum(size for _, size in commits)
        taken = size / costs.log_bytes_per_s
        yield world.env.timeout(costs.flush + taken)
        world.disk_s += taken
        for done, _ in commits:
            done.succeed()


def tables(costs: Costs, *, seconds: float) -> Iterator[str]:
    """Write the tables, a line at a time."""
    for job_s in (0.0, 0.1):
        yield f"\njobs of {job_s:g} s, 500 slots\n"
        yield "| workers | cores | steps/s | cores busy | disk busy | worker busy | rows/batch |"
        yield "|---|---|---|---|---|---|---|"
        for cores in (4, 16, 32):
            for workers in (1, 10, 100):
                case = Case(workers, cores, job_s)
                outcome = simulate(case, costs, seconds=seconds)
                yield (
                    f"| {workers} | {cores} | {outcome.steps_per_s:,.0f} |"
                    f" {min(1, outcome.postgres_use):.0%} | {outcome.disk_use:.0%} |"
                    f" {outcome.worker_use:.0%} |"
                    f" {outcome.rows_in_batch:.0f} |"
                )


def main() -> None:
    """Print the tables, in an environment that has simpy."""
    parser = argparse.ArgumentParser(description="Simulate many workers.")
    parser.add_argument("--seconds", type=float, default=0.5, help="simulated, for each case")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        from peer_installs import environment  # noqa: PLC0415 - not inside

        python = environment("simulated", HERE / "simulated.txt")
        subprocess.run([str(python), __file__, "--inside", *sys.argv[1:]], check=True)
        return
    for line in tables(Costs(), seconds=arguments.seconds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
