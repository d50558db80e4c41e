"""Worker: a process that runs jobs; here everything is put together, started and stopped.

It stops in three moves: *quiet*, it takes no more work; *drain*, running jobs may end for the grace
time; *release*, what still runs is stopped and its programs are given back at once.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from enum import IntEnum
from typing import Any

import structlog

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger import registry
from program_service.bookkeeping.ledger.claiming import Claimant
from program_service.bookkeeping.ledger.waking import welcome_jobs
from program_service.settings import Settings
from program_service.telemetry import VERSION, Event, Metrics
from program_service.wakeups.broker import Broker, Cancelled
from program_service.wakeups.relay import Relay, Waker
from program_service.wakeups.submissions import Submissions
from program_workers.desk import Desk
from program_workers.execution import Execution, Tools
from program_workers.inprocess import InProcessJobs
from program_workers.intake import Intake, Slots
from program_workers.lease import LeaseKeeper, StopReason
from program_workers.library import JobLibrary
from program_workers.observer import KIND, Observer
from program_workers.recorder import Recorder

log = structlog.get_logger()

RELEASE_WAIT_S = 3.0
"""How long stopped jobs may take to end; a thread that runs on then is abandoned."""

ABANDONED_DUE_S = 5.0
"""When an abandoned program is due: this process, and the thread with it, is gone by then."""


class Stopped(IntEnum):
    """How a worker stopped; its exit code."""

    DRAINED = 0
    """Every job ended by itself."""
    RELEASED = 3
    """Some jobs were stopped at the end of the grace time, and their programs given back."""
    ABANDONED = 4
    """Some threads did not end; the process must exit hard."""


class Worker:
    """Claim programs and run their jobs, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        broker: Broker,
        *,
        library: JobLibrary,
        metrics: Metrics,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self.name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
        self._settings = settings
        self._database = database
        self._broker = broker
        self._library = library
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="job")
        claimant = Claimant(self.name, sorted(library), settings.lease_s)
        self._recorder = Recorder(database, metrics, claimant)
        self._keeper = LeaseKeeper(database, metrics, lease_s=settings.lease_s)
        self._relay = Relay(Waker(database, broker, metrics))
        self._submissions = Submissions(database, self._relay, metrics)
        directory = JobDirectory(database)
        self._execution = Execution(
            Tools(
                worker=self.name,
                queues=frozenset(settings.queues),
                library=library,
                jobs=InProcessJobs(self._threads),
                keeper=self._keeper,
                recorder=self._recorder,
                directory=directory,
                relay=self._relay,
                desk=Desk(self._recorder, self._submissions, directory),
                observer=Observer(metrics, library.hooks),
                metrics=metrics,
            )
        )
        self._slots = Slots(settings.concurrency)
        self._intake = Intake(
            broker, self._recorder, self._keeper, slots=self._slots, metrics=metrics
        )
        self.is_ready = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> Stopped:
        """Work until `stopping` is set, then stop: quiet, drain, release."""
        async with self._engine_room():
            await self._announce()
            log.info(
                Event.WORKER_STARTED,
                worker=self.name,
                queues=self._settings.queues,
                jobs=len(self._library),
                slots=self._slots.total,
            )
            stopped = await self._work(stopping)
            await self._relay.flush()
        await self._leave()
        self._threads.shutdown(wait=False, cancel_futures=True)
        log.info(Event.WORKER_STOPPED, worker=self.name, how=stopped.name.lower())
        return stopped

    async def _work(self, stopping: asyncio.Event) -> Stopped:
        async with asyncio.TaskGroup() as programs:
            intake = programs.create_task(
                self._intake.run(self._settings.queues, programs, self._execution.run)
            )
            self.is_ready.set()
            await stopping.wait()
            self.is_ready.clear()
            intake.cancel()
            log.info(Event.WORKER_QUIET, worker=self.name, running=len(self._keeper.held))
            if await self._is_drained_within(self._settings.grace_s):
                return Stopped.DRAINED
            self._keeper.stop_all(StopReason.SHUTDOWN)
            if await self._is_drained_within(RELEASE_WAIT_S):
                return Stopped.RELEASED
            await self._abandon()
            return Stopped.ABANDONED

    async def _is_drained_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self._slots.busy:  # noqa: ASYNC110 - slots are freed in many places
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    async def _abandon(self) -> None:
        """Record what must be given back though its thread still runs (protocol rule R12)."""
        for held in self._keeper.held:
            await self._execution.abandon(held, due_in_s=ABANDONED_DUE_S)
            held.abandon()

    @asynccontextmanager
    async def _engine_room(self) -> AsyncIterator[None]:
        """Run the loops that jobs depend on, for longer than any job."""
        recorder = self._recorder
        loops: list[Coroutine[Any, Any, None]] = [
            recorder.claims.run(),
            recorder.outcomes.run(),
            recorder.job_data.run(),
            self._submissions.run(),
            self._keeper.run(),
            self._relay.run(),
            self._beat(),
        ]
        async with asyncio.TaskGroup() as room, self._broker.on_cancelled(self._stop_cancelled):
            tasks = [room.create_task(loop) for loop in loops]
            yield
            for task in tasks:
                task.cancel()

    def _stop_cancelled(self, cancelled: Cancelled) -> None:
        self._keeper.stop(cancelled.run_id, StopReason.CANCELLED)

    async def _announce(self) -> None:
        """Register our jobs, and welcome the programs that waited for a worker that knows them."""
        jobs = [
            registry.Job(job.name, KIND, job.queue, job.timeout_s, asdict(job.retry))
            for job in self._library.values()
        ]
        await self._database.transact(registry.register_jobs, jobs)
        beat_s = self._settings.worker_beat_s
        others = await self._database.read(registry.list_workers, beat_s=beat_s)
        covered = {job for other in others if other.name != self.name for job in other.jobs}
        await self._database.transact(registry.beat, self._description())
        new = {job.name: job.queue for job in jobs if job.name not in covered}
        await self._database.transact(welcome_jobs, new)

    def _description(self) -> registry.Worker:
        return registry.Worker(
            name=self.name,
            host=socket.gethostname(),
            version=VERSION,
            queues=self._settings.queues,
            jobs=sorted(self._library),
            slots=self._slots.total,
            busy=len(self._keeper.held),
            newest_wakeups=self._intake.newest_wakeups,
        )

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.worker_beat_s)
            try:
                await self._database.transact(registry.beat, self._description())
            except BookkeepingError as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="beat", error_message=str(error))

    async def _leave(self) -> None:
        try:
            await self._database.transact(registry.leave, self.name)
        except BookkeepingError as error:
            log.warning(Event.DATABASE_UNAVAILABLE, during="leave", error_message=str(error))
