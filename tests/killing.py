"""Killing: kill workers of a deployment while they run steps, one after the other, by the file."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from asking import submit_many
from journal import Entry, Journal, note_kill
from patience import eventually
from processes import Deployment, Process

LOOK_EVERY_S = 0.05
RUNNING_WITHIN_S = 120.0
AFFLICTED_WITHIN_S = 12.0
"""A step that died is due again when its lease has ended, and the sweeper has looked."""

FEW, SUPPLY_EVERY_S = 8, 0.5

Choose = Callable[[Mapping[str, list[Entry]], Journal], str | None]
"""Choose a worker from {worker: steps that it runs}, or none for now."""


@dataclass(slots=True)
class Killer:
    """Kills workers that run at least one step, and brings a new one for each."""

    deployment: Deployment
    workers: dict[str, Process]
    jobs: Sequence[str] = ("tick",) * 3
    hit: list[int] = field(default_factory=list)
    """For each kill the number of steps that its worker was running."""

    programs: int = 0
    """How many were submitted."""

    async def submit(self, service: Process, count: int) -> None:
        """Submit programs."""
        if count:
            await submit_many(service, [{"jobs": self.jobs}] * count)
            self.programs += count

    async def kill_one(self, choose: Choose) -> None:
        """Kill a worker that runs a step, and wait until its replacement is ready."""

        async def try_to() -> bool:
            await asyncio.sleep(LOOK_EVERY_S)
            journal = Journal(self.deployment.journal)
            name = choose(journal.running(), journal)
            return name is not None and await self._kill(name)

        await eventually(try_to, within_s=RUNNING_WITHIN_S)
        worker = await self.deployment.work()
        self.workers[worker.name] = worker

    async def _kill(self, name: str) -> bool:
        """Kill a worker, if it still runs a step now that it cannot go on any more."""
        worker = self.workers[name]
        worker.signal(signal.SIGSTOP)
        running = Journal(self.deployment.journal).running().get(name, [])
        if not running:
            worker.signal(signal.SIGCONT)
            return False
        await worker.kill()
        note_kill(self.deployment.journal, name)
        del self.workers[name]
        self.hit.append(len(running))
        return True


def anyone(alive: Mapping[str, list[Entry]], _journal: Journal) -> str | None:
    """Choose any worker that runs a step."""
    return random.choice(sorted(alive)) if alive else None


def died_before(times: int, *, within_s: float) -> Choose:
    """Choose the worker of a step that has died so often; when none comes, the most afflicted."""
    deadline = time.monotonic() + within_s

    def choose(alive: Mapping[str, list[Entry]], journal: Journal) -> str | None:
        deaths = journal.deaths()
        worst = {name: max(deaths[step.of] for step in steps) for name, steps in alive.items()}
        name = max(sorted(worst), key=worst.__getitem__, default=None)
        is_time = time.monotonic() > deadline
        return name if name and (is_time or worst[name] >= times) else None

    return choose


def runner_of(run_id: str) -> Choose:
    """Choose the worker that runs this program."""

    def choose(alive: Mapping[str, list[Entry]], _journal: Journal) -> str | None:
        names = [name for name, steps in alive.items() if any(s.run_id == run_id for s in steps)]
        return names[0] if names else None

    return choose


@dataclass(frozen=True, slots=True)
class Massacre:
    """What is to happen to how many programs."""

    programs: int
    kills: int
    between: Mapping[int, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    """{number of a kill: what else is done just before it}."""
    jobs: Sequence[str] = ("tick",) * 3
    is_cruel: bool = True
    """Of three kills, one hits anybody, one a step that died before, one a step that died twice."""


async def massacre(deployment: Deployment, service: Process, plan: Massacre) -> Killer:
    """Kill so many workers while so many programs run, or some more, and return what was done."""
    workers = await asyncio.gather(deployment.work(), deployment.work())
    killer = Killer(deployment, {worker.name: worker for worker in workers}, plan.jobs)
    half = plan.programs // 2
    await killer.submit(service, half)
    supplying = asyncio.create_task(_keep_supplied(killer, service))
    left = plan.programs - half
    for number in range(plan.kills):
        # the other half comes little by little
        share = left // (plan.kills - number)
        left -= share
        await killer.submit(service, share)
        if number in plan.between:
            await plan.between[number]()
        deaths = number % 3 if plan.is_cruel else 0
        await killer.kill_one(
            died_before(deaths, within_s=AFFLICTED_WITHIN_S) if deaths else anyone
        )
    supplying.cancel()
    return killer


async def _keep_supplied(killer: Killer, service: Process) -> None:
    """Submit more when hardly a step runs: a killer needs somebody to hit, until its last kill."""
    while True:
        await asyncio.sleep(SUPPLY_EVERY_S)
        running = Journal(killer.deployment.journal).running()
        if sum(map(len, running.values())) < FEW:
            await killer.submit(service, FEW)
