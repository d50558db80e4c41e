"""Worker: take wake-ups and run programs, until told to stop.

It stops in three moves: *quiet*, it takes no more work; *drain*, running jobs may end for the grace
time; *release*, what still runs is stopped and its programs are given back at once.
"""

import asyncio
import os
import socket
from contextlib import suppress
from enum import IntEnum

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.workers import new_process
from program_service.cancellation import TaskGroup
from program_service.crashpoints import CrashPoint, reach
from program_service.logs import log
from program_service.loops.supervisor import Loop, Named, Supervisor
from program_service.settings import Settings
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import Broker, Subscription
from program_workers.engine import Engine
from program_workers.intake import Intake, Slots
from program_workers.lease import StopReason
from program_workers.library import JobLibrary
from program_workers.line import Line
from program_workers.presence import Presence
from program_workers.recall import Recall
from program_workers.watch import LoopWatch

RELEASE_WAIT_S = 3.0
"""How long stopped jobs may take to end; a thread that runs on then is abandoned."""

LAST_WORDS_S = 1.0
"""How long what a drained worker still says to its servers may take: nothing depends on it."""

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
    """Claim programs and run their jobs."""

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
        self.process = new_process(self.name)
        """As its row and a drain name it: another process may have the same name."""
        self._settings = settings
        self._broker = broker
        self._engine = engine = Engine(
            self.name,
            settings,
            database,
            broker=broker,
            library=library,
            metrics=metrics,
        )
        self._library = library
        self._slots = Slots(settings.concurrency)
        line = Line(engine.room)
        self._intake = Intake(
            broker, engine.recorder, engine.keeper, slots=self._slots, line=line, metrics=metrics
        )
        self._presence = Presence(
            self.name,
            self.process,
            settings,
            database,
            library=library,
            engine=engine,
            intake=self._intake,
            metrics=metrics,
        )
        self._watch = LoopWatch(lambda: engine.keeper.held, engine.job_threads, metrics)
        self.is_ready = asyncio.Event()
        self.drained: asyncio.Future[Stopped] = asyncio.Future()
        """How it stopped; from then on it only takes leave of its servers."""
        self._is_hurried = asyncio.Event()

    def hurry(self) -> None:
        """Do not wait for the end of the grace time: release what still runs."""
        self._is_hurried.set()

    async def run(self, stopping: asyncio.Event) -> Stopped:
        """Work until `stopping` is set; then quiet, drain, release. It may be quieted earlier."""
        async with self._engine.running():
            if not await self._presence.announce(unless=stopping):
                self.drained.set_result(Stopped.DRAINED)
                return self._left(Stopped.DRAINED)
            async with self.supervisor.running(*self._presence.loops, self._watch):
                log.info(
                    Event.WORKER_STARTED,
                    worker=self.name,
                    slots=self._slots.total,
                    jobs=len(self._library),
                )
                stopped = await self._work(stopping)
        reach(CrashPoint.DRAIN_ENDED)
        await self._presence.leave()
        return self._left(stopped)

    def _left(self, stopped: Stopped) -> Stopped:
        log.info(Event.WORKER_STOPPED, worker=self.name, how=stopped.name.lower())
        return stopped

    async def _work(self, stopping: asyncio.Event) -> Stopped:
        """Run programs until told to stop, and drain; say how that went."""
        stopped = Stopped.ABANDONED
        subscription = self._intake.subscribe(self._settings.queues)
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(None) as end,
                TaskGroup() as programs,
                self.supervisor.running(
                    *self._loops_into(programs, subscription), *subscription.loops
                ) as taking,
            ):
                self.is_ready.set()
                await first_set(stopping, self._engine.quieted)
                self.is_ready.clear()
                taking.stop()
                reach(CrashPoint.DRAIN_QUIET)
                running = len(self._engine.keeper.held)
                log.info(Event.WORKER_QUIET, worker=self.name, running=running)
                await stopping.wait()
                stopped = await self._drain()
                self.drained.set_result(stopped)
                # claims that were not taken, for one: they wait for a database that is away
                end.reschedule(asyncio.get_running_loop().time() + LAST_WORDS_S)
        return stopped

    def _loops_into(
        self, programs: asyncio.TaskGroup, subscription: Subscription
    ) -> tuple[Loop, ...]:
        """Return the loops that start programs, in this group."""
        start = self._intake.starter(programs, self._engine.execution.run)
        recall = Recall(self._intake, self._engine.room, self._broker, start)
        intake = Named("intake", lambda: self._intake.run(subscription, programs, start))
        return intake, recall, Named("asking", recall.ask_others)

    @property
    def supervisor(self) -> Supervisor:
        """What runs the worker's loops, and reports on them."""
        return self._engine.supervisor

    async def _drain(self) -> Stopped:
        if await self._slots.are_free_within(self._settings.grace_s, unless=self._is_hurried):
            return Stopped.DRAINED
        self._engine.keeper.stop_all(StopReason.SHUTDOWN)
        reach(CrashPoint.DRAIN_STOPPED)
        if await self._slots.are_free_within(RELEASE_WAIT_S):
            return Stopped.RELEASED
        # what must be given back though its thread still runs (protocol rule R12)
        abandoned, abandon = self._engine.keeper.held, self._engine.execution.abandon
        with suppress(TimeoutError):  # the database is away: the leases will lapse
            async with asyncio.timeout(RELEASE_WAIT_S):
                await asyncio.gather(
                    *(abandon(held, due_in_s=ABANDONED_DUE_S) for held in abandoned)
                )
        for held in abandoned:
            held.abandon()
        return Stopped.ABANDONED


class _IsSet(Exception):
    """One of several events was set."""


async def first_set(*events: asyncio.Event) -> None:
    """Wait until one of these events is set."""
    try:
        async with TaskGroup() as tasks:
            for event in events:
                tasks.create_task(_raise_when_set(event))
    except* _IsSet:
        pass


async def _raise_when_set(event: asyncio.Event) -> None:
    await event.wait()
    raise _IsSet
