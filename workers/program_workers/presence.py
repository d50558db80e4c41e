"""Presence: make a worker and its jobs known, say that it lives, and take leave."""

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    RowLocked,
)
from program_service.bookkeeping.halves import is_of_some_rows, write_by_halves
from program_service.bookkeeping.ledger import registry, token_keys, workers
from program_service.bookkeeping.ledger.welcoming import announce
from program_service.bookkeeping.lifecycle import Json
from program_service.logs import log
from program_service.loops.supervisor import Loop, Named
from program_service.loops.turns import is_set_within
from program_service.settings import Settings
from program_service.telemetry import VERSION, Event, Metrics
from program_service.webhooks.tokens import new_token_key
from program_workers.engine import Engine
from program_workers.intake import Intake
from program_workers.library import JobLibrary

TRY_AGAIN_S = 1.0

LOOK_EVERY_S = 2.0
"""How often a worker looks for changed endpoints, and whether it is to be drained."""


@dataclass(frozen=True, slots=True)
class Ending(Named):
    """A loop that ends after what it is doing: a transaction is not cut off."""

    is_ending: asyncio.Event

    def finish(self) -> None:
        """Ask it to end."""
        self.is_ending.set()


class Presence:
    """Keep a worker's row in the table of workers."""

    def __init__(  # noqa: PLR0913 - what is told of a worker comes from many parts
        self,
        name: str,
        process: str,
        settings: Settings,
        database: Database,
        *,
        library: JobLibrary,
        engine: Engine,
        intake: Intake,
        metrics: Metrics,
    ) -> None:
        """Take what is told of the worker."""
        self._name = name
        self._process = process
        self._namesakes: set[str] = set()
        self._settings = settings
        self._database = database
        self._library = library
        self._engine = engine
        self._intake = intake
        self._metrics = metrics
        self._is_ending = asyncio.Event()
        self._unregistered = registered(library)
        self._announced: dict[str, str] = {}
        """{job: queue} as the table has it from us."""

    async def announce(self, *, unless: asyncio.Event) -> bool:
        """Register the jobs, and welcome programs that waited for a worker that knows them.

        A worker that starts before the database, or before its tables are made, waits for them,
        unless it is told to stop; then it says that it did not register.
        """
        while not unless.is_set():
            try:
                await self._register()
            except BookkeepingError as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="start", error_message=str(error))
                await is_set_within(unless, TRY_AGAIN_S)
            else:
                return True
        return False

    async def _register(self) -> None:
        # apart from what follows, which may take seconds, in which nobody could change these jobs
        await self._register_jobs()
        await self._database.transact(workers.forget_gone)
        # before the first beat, which names all jobs
        await self._learn_endpoints()
        await self._beat()

    async def _register_jobs(self) -> None:
        """Register the jobs; those whose rows are locked, or refused, are tried again later."""
        left = list[registry.Job]()

        def leave_out(job: registry.Job, error: BookkeepingError) -> None:
            log.warning(Event.JOB_NOT_REGISTERED, job=job.name, error_message=str(error))
            left.append(job)

        async def register(jobs: Sequence[registry.Job]) -> None:
            try:
                await self._database.transact_past_outages(PATIENCE_S, registry.register_jobs, jobs)
            except RowLocked as error:
                locked = await self._database.transact_past_outages(
                    PATIENCE_S, registry.register_unlocked, jobs
                )
                for job in locked:
                    leave_out(job, error)

        await write_by_halves(register, self._unregistered, leave_out=leave_out)
        self._unregistered = left

    @property
    def loops(self) -> tuple[Loop, ...]:
        """What runs as long as the worker."""
        return (
            Ending("heartbeat", self._keep_beating, self._is_ending),
            Ending("endpoints", self._follow_requests, self._is_ending),
        )

    async def _keep_beating(self) -> None:
        """Say that the worker lives, until its end."""
        while not await is_set_within(self._is_ending, self._settings.worker_beat_s):
            try:
                await self._beat()
                await self._register_jobs()
                await self._look_for_namesakes()
            except BookkeepingError as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="beat", error_message=str(error))

    async def _follow_requests(self) -> None:
        """Look for changed endpoints, and for a requested drain, until the end."""
        pause_s = min(LOOK_EVERY_S, self._settings.worker_beat_s)
        while not await is_set_within(self._is_ending, pause_s):
            try:
                if await self._database.read(workers.is_drain_requested, self._process):
                    self._engine.quieted.set()
                await self._learn_endpoints()
                if self._queues() != self._announced:
                    await self._beat()
            except BookkeepingError as error:
                log.warning(
                    Event.DATABASE_UNAVAILABLE, during="endpoints", error_message=str(error)
                )

    async def _learn_endpoints(self) -> None:
        endpoints = await self._database.read(registry.list_endpoints)
        if endpoints:  # first, for they may be called at once
            self._engine.endpoints.sign_tokens_by(await self._newest_token_key())
        self._engine.catalogue.update(endpoints)

    async def _newest_token_key(self) -> token_keys.TokenKey:
        if keys := await self._database.read(token_keys.list_token_keys):
            return keys[0]
        return await self._database.transact(token_keys.require_token_key, new_token_key())

    async def _beat(self) -> None:
        """Say that the worker lives, and welcome programs of what it has not announced yet."""
        queues = self._queues()
        fresh = {job: queue for job, queue in queues.items() if self._announced.get(job) != queue}
        worker, beat_s = self._description(), self._settings.worker_beat_s
        try:
            await self._database.transact(announce, fresh, worker=worker, beat_s=beat_s)
        except (BatchRefused, DatabaseUnavailable) as error:
            if not fresh or not is_of_some_rows(error):
                raise
            # some program's row is not to be changed, or there are more than a statement has time
            # for; the sweeper finds all the others by and by
            log.warning(Event.WELCOME_REFUSED, worker=self._name, error_message=str(error))
            await self._database.transact(workers.beat, worker)
        self._announced = queues

    def _queues(self) -> dict[str, str]:
        catalogue = self._engine.catalogue
        return {name: catalogue.of(name).queue for name in catalogue}

    async def _look_for_namesakes(self) -> None:
        """Warn of each other live process with this worker's name, once."""
        found = await self._database.read(workers.find_namesakes, self._name, process=self._process)
        for other in found:
            if other.process not in self._namesakes:
                self._namesakes.add(other.process)
                log.warning(
                    Event.WORKER_NAMESAKE,
                    worker=self._name,
                    process=self._process,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    other_process=other.process,
                    other_host=other.host,
                    other_pid=other.pid,
                )

    async def leave(self) -> None:
        """Take the worker's row away."""
        try:
            await self._database.transact(workers.leave, self._process)
        except BookkeepingError as error:
            log.warning(Event.DATABASE_UNAVAILABLE, during="leave", error_message=str(error))

    def _description(self) -> workers.Worker:
        busy, is_quiet = len(self._engine.keeper.held), self._engine.quieted.is_set()
        return workers.Worker(
            name=self._name,
            host=socket.gethostname(),
            version=VERSION,
            # nobody is to be woken for a worker that takes no more
            queues=[] if is_quiet else self._settings.queues,
            jobs=[] if is_quiet else sorted(self._engine.catalogue),
            slots=busy if is_quiet else self._intake.slots.total,
            busy=busy,
            newest_wakeups=self._intake.newest_wakeups,
            endpoints=self._report(),
            process=self._process,
            pid=os.getpid(),
        )

    def _report(self) -> Json:
        """Return what people should see of calls, breakers and those that wait for room.

        Prometheus is shown the same.
        """
        breakers, limits = self._engine.room.breakers(), self._intake.line.report()
        of_jobs = [(said["host"], job) for job, said in breakers["job_breakers"].items()]
        self._metrics.show_breakers([*((host, "") for host in breakers["breakers"]), *of_jobs])
        self._metrics.show_waiting({job: said["waiting"] for job, said in limits.items()})
        return breakers | {"running": self._engine.endpoints.running, "limits": limits}


def registered(library: JobLibrary) -> list[registry.Job]:
    """Return the jobs of a library as they are registered."""
    return [
        registry.Job(job.name, registry.IN_PROCESS, job.queue, job.timeout_s, asdict(job.retry))
        for job in library.values()
    ]
