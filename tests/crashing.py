"""Crashing: have workers die at their crash points, each while it does what leads there.

They share one deployment: each serves a queue of its own, whose jobs nobody else knows until all
are dead and their survivors start.
"""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asking import all_ended, attempts, rows, submit_many
from journal import Journal, note_kill
from patience import eventually
from processes import Deployment, Json, Process
from program_service.crashpoints import CrashPoint

LEASE_S = 5.0
"""Short, so that the dead are missed soon; longer than any stall of a busy machine."""

DIES_WITHIN_S = 60.0
ENDS_WITHIN_S = 120.0
SURVIVORS = 3
"""Who died once runs alone (rule R11): with more survivors, more of them run."""

ONWARD = "onward"
TURNS = asyncio.Semaphore(4)
"""Who starts all processes at once waits for long, and needs many connections."""

SHORT: Json = {"seconds": 0.05}


@dataclass(frozen=True, slots=True)
class Casualty:
    """A process that died, and the programs that were to suffer from it."""

    name: str
    point: CrashPoint
    exit_code: int
    log: str
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Who died, and what tables and journals of all deployments say in the end."""

    casualties: dict[str, Casualty] = field(default_factory=dict)
    journals: dict[str, Journal] = field(default_factory=dict)
    rows: dict[str, Json] = field(default_factory=dict)
    attempts: list[Json] = field(default_factory=list)

    async def read(self, deployment: Deployment, casualties: list[Casualty]) -> None:
        """Add what became of a deployment, when all its programs have ended."""
        journal = Journal(deployment.journal)
        self.casualties.update((each.name, each) for each in casualties)
        self.journals.update((each.name, journal) for each in casualties)
        self.rows.update(await rows(deployment))
        self.attempts.extend(await attempts(deployment))


@dataclass(frozen=True, slots=True)
class WorkerScene:
    """A worker that comes to a crash point while it runs programs of three steps, one at a time."""

    point: CrashPoint
    times: int = 1
    repeats: frozenset[int] = frozenset({0})
    """How many steps are begun again."""

    programs: int = 2
    jobs: tuple[str, ...] = ("", "", "")
    """The queues of the steps' jobs; the worker's own where none is named."""

    data: Mapping[str, Any] = field(default_factory=lambda: SHORT)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_told_to_stop: bool = False

    @property
    def name(self) -> str:
        """What the scene, and its worker's queue, is called."""
        return self.point.value

    async def play(self, deployment: Deployment, service: Process) -> Casualty:
        """Start the worker, lead it to its point, and see it die."""
        async with TURNS:
            return await self._play(deployment, service)

    async def _play(self, deployment: Deployment, service: Process) -> Casualty:
        worker = await deployment.work(
            modules=["jobs_apart"],
            queues=self.name,
            concurrency=1,
            crash_at=f"{self.point}:{self.times}",
            **self.settings,
        )
        jobs = [f"go-{queue or self.name}" for queue in self.jobs]
        programs = [{"jobs": jobs, "program_data": dict(self.data)}] * self.programs
        run_ids = await submit_many(service, programs)
        if self.is_told_to_stop:
            await until_begun(deployment, *run_ids)
            worker.signal(signal.SIGTERM)
        exit_code = await worker.died(within_s=DIES_WITHIN_S)
        note_kill(deployment.journal, worker.name)
        return Casualty(self.name, self.point, exit_code, worker.log, run_ids)


async def until_begun(deployment: Deployment, *run_ids: str) -> None:
    """Wait until these programs have begun a step."""

    async def have_begun() -> bool:
        begun = {entry.run_id for entry in Journal(deployment.journal).begins()}
        return set(run_ids) <= begun

    await eventually(have_begun)


async def workers_fall(deployment: Deployment, scenes: list[WorkerScene], end: Aftermath) -> None:
    """Play the scenes of workers, all at once, and have the survivors end all programs."""
    deployment.settings |= {"lease_s": LEASE_S, "grace_s": 20.0}
    service = await deployment.serve(unknown_jobs="accept")
    casualties = await asyncio.gather(*[scene.play(deployment, service) for scene in scenes])
    queues = ",".join([*(scene.name for scene in scenes), ONWARD])
    survivors = [deployment.work(modules=["jobs_apart"], queues=queues) for _ in range(SURVIVORS)]
    await asyncio.gather(*survivors)
    await all_ended(deployment, within_s=ENDS_WITHIN_S)
    await end.read(deployment, casualties)
