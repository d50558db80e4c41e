"""Stage: workers, and the loops of a service, on one database and one broker in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from builders import a_program, by_hand, seconds_ago
from patience import PATIENCE_S, eventually, in_own_task
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.attempts import list_attempts
from program_service.bookkeeping.ledger.reading import (
    Attempt,
    Filter,
    Program,
    find,
    list_programs,
)
from program_service.bookkeeping.ledger.submitting import Submitted
from program_service.bookkeeping.lifecycle import Status
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.wakeups.memory import MemoryBroker
from program_service.wakeups.relay import Relay, Waker
from program_service.wakeups.submissions import Submissions
from program_service.wakeups.sweeper import Sweeper
from program_workers.library import Hook, Job, JobLibrary
from program_workers.worker import Stopped, Worker

QUICK = {
    "sweep_interval_s": 0.1,
    "wake_again_s": 1.0,
    "worker_beat_s": 1.0,
    "grace_s": 10.0,
    "threads": 4,
}
"""Settings of tests: what is lost is looked for soon; leases are as long as in production."""

STOP_PATIENCE_S = 60.0


def quick_settings(**changes: Any) -> Settings:
    """Return settings for tests."""
    return Settings(**(QUICK | changes))


@dataclass(slots=True)
class Shift:
    """A worker at work."""

    worker: Worker
    metrics: Metrics
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    working: "asyncio.Task[Stopped]" = field(init=False)

    def __post_init__(self) -> None:
        """Begin."""
        self.working = asyncio.create_task(self.worker.run(self.stopping))

    async def is_ready(self) -> bool:
        """Say whether it takes wake-ups; raise what it died of."""
        self.look_alive()
        return self.worker.is_ready.is_set()

    def look_alive(self) -> None:
        """Raise what the worker died of."""
        if self.working.done() and not self.working.cancelled():
            self.working.result()

    async def stop(self) -> Stopped:
        """Tell it to stop, as SIGTERM does, and say how it did."""
        self.stopping.set()
        async with asyncio.timeout(STOP_PATIENCE_S):
            return await self.working

    async def kill(self) -> None:
        """End it without a word to the database, as far as that can be done to a task."""
        self.working.cancel()
        await asyncio.wait([self.working])


class Crew:
    """The workers of a test; what still works at its end is stopped."""

    def __init__(self, database: Database, broker: MemoryBroker) -> None:
        """Begin with nobody."""
        self.database = database
        self.broker = broker
        self.shifts: list[Shift] = []
        self._numbers = count(1)

    async def hire(
        self,
        *jobs: Job,
        hooks: Iterable[Hook] = (),
        database: Database | None = None,
        **settings: Any,
    ) -> Shift:
        """Start a worker that knows these jobs, and wait until it is ready."""
        named = {"worker_name": f"worker-{next(self._numbers)}"} | settings
        metrics = Metrics()
        worker = Worker(
            quick_settings(**named),
            database or self.database,
            self.broker,
            library=JobLibrary(jobs, hooks),
            metrics=metrics,
        )
        self.shifts.append(Shift(worker, metrics))
        await eventually(self.shifts[-1].is_ready)
        return self.shifts[-1]

    def look_alive(self) -> None:
        """Raise what a worker died of."""
        for shift in self.shifts:
            shift.look_alive()

    async def stop(self) -> None:
        """Stop everybody."""
        for shift in self.shifts:
            if not shift.working.done():
                await shift.stop()


class Stage:
    """A service without its HTTP side, and workers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Put the parts together."""
        self.database = database
        self.broker = MemoryBroker()
        waker = Waker(database, self.broker, Metrics())
        self.relay = Relay(waker)
        self.submissions = Submissions(database, self.relay, Metrics())
        self.sweeper = Sweeper(database, self.broker, waker, settings=settings)
        self.crew = Crew(database, self.broker)
        self.hire = self.crew.hire

    async def submit(self, *jobs: str, **fields: Any) -> str:
        """Submit a program and return its run_id."""
        result = await self.submissions.submit(a_program(jobs=jobs, **fields))
        assert isinstance(result, Submitted)
        return result.run_id

    async def program(self, run_id: str) -> Program:
        """Return a program as it stands."""
        return await self.database.read(find, run_id)

    async def attempts(self, run_id: str) -> list[Attempt]:
        """Return every try of every step."""
        return await self.database.read(list_attempts, run_id)

    async def outcomes(self, run_id: str) -> list[str]:
        """Return what became of each try."""
        return [attempt.outcome for attempt in await self.attempts(run_id)]

    async def until(
        self, run_id: str, holds: Callable[[Program], bool], *, within_s: float = PATIENCE_S
    ) -> Program:
        """Wait until something holds for a program, and return it."""

        async def look() -> Program | None:
            self.crew.look_alive()
            program = await self.program(run_id)
            return program if holds(program) else None

        return _found(await eventually(look, within_s=within_s))

    async def ended(self, run_id: str, *, within_s: float = PATIENCE_S) -> Program:
        """Wait until a program has ended, and return it."""
        return await self.until(run_id, lambda program: program.status.is_final, within_s=within_s)

    async def finished(self, run_id: str) -> Program:
        """Wait until a program has ended; it must have finished."""
        program = await self.ended(run_id)
        assert program.status is Status.FINISHED, program.error_message
        return program

    async def all_renewed(self, run_ids: Sequence[str], *, times: int) -> None:
        """Wait until the lease of each of these running programs was renewed so often."""
        held = {run_id: (await self.program(run_id)).due_at for run_id in run_ids}
        for _ in range(times):
            for run_id, due_at in held.items():
                renewed = await self.until(run_id, lambda it, was=due_at: it.due_at > was)  # type: ignore[misc]
                held[run_id] = renewed.due_at

    async def all_finished(self, run_ids: Sequence[str], *, within_s: float = PATIENCE_S) -> None:
        """Wait until no program of the table is left to be run; all of these must have finished."""

        async def nothing_is_left() -> bool:
            self.crew.look_alive()
            open_ones = Filter(is_in_progress=True)
            page = await self.database.read(list_programs, open_ones, limit=1)
            return not page.programs

        await eventually(nothing_is_left, within_s=within_s)
        done = Filter(status=Status.FINISHED)
        page = await self.database.read(list_programs, done, limit=10_000)
        assert set(run_ids) <= {program.run_id for program in page.programs}

    async def orphan(self, run_id: str) -> None:
        """Let the lease of a program end long ago, as if its worker had died."""
        await by_hand(self.database, run_id, due_at=seconds_ago(self.database, 2))


def _found(program: Program | None) -> Program:
    assert program is not None
    return program


@asynccontextmanager
async def _staged(database: Database, settings: Settings) -> AsyncGenerator[Stage]:
    stage = Stage(database, settings)
    async with asyncio.TaskGroup() as tasks:
        loops = (stage.relay.run(), stage.submissions.run(), stage.sweeper.run())
        running = [tasks.create_task(loop) for loop in loops]
        yield stage
        await stage.crew.stop()
        for task in running:
            task.cancel()


@asynccontextmanager
async def staged(database: Database, **settings: Any) -> AsyncGenerator[Stage]:
    """Run the loops of a service, and stop them and all workers after."""
    async with in_own_task(_staged(database, quick_settings(**settings))) as stage:
        yield stage


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    """Run the loops of a service; no worker runs yet."""
    async with staged(database) as running:
        yield running
