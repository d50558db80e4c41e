"""Supervisor: run background loops, restart those that fail, and report on them to the probes.

A loop has a name and a `run` that works until it is cancelled. Whatever ends it earlier is a
failure: an exception, a return, or a cancellation that nobody asked for. Each failure is logged,
counted, and followed by a restart. All other loops continue.

An outage of the database or the broker is no failure: the loop is restarted soon, and the probes
report the outage by checks of their own.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Protocol, runtime_checkable

from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.retry import Retry
from program_service.cancellation import is_being_cancelled, restoring
from program_service.logs import log
from program_service.loops.turns import on_completed
from program_service.plain import described
from program_service.telemetry import Event, Metrics

BACKOFF = Retry(initial_s=0.2, max_s=5.0, jitter="none")
OUTAGE_BACKOFF = Retry(initial_s=0.2, max_s=2.0, jitter="none")

UNREADY_AFTER = 5
"""Failures in a row, with no completed turn between: within 3 s at the soonest."""

NOT_ALIVE_AFTER_S = 120.0
"""A loop that has failed for so long needs another process."""

WELL_AFTER_S = 60.0
"""A loop that does not report its turns is well again when it has run for this long."""

STOP_WITHIN_S = 8.0
"""How long loops may take to finish what they are doing; then they are cancelled."""
CANCEL_WITHIN_S = 2.0
"""How long cancelled loops may take to end; those that take longer are abandoned."""


class Loop(Protocol):
    """What runs in the background for as long as its process."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""

    async def run(self) -> None:
        """Work until cancelled."""


@runtime_checkable
class Finishing(Loop, Protocol):
    """A loop that is not cancelled at once: it ends by itself when it is asked to."""

    def finish(self) -> None:
        """Finish what is being done, begin nothing new, and return from `run`."""


@dataclass(frozen=True, slots=True)
class Named:
    """A function that works until it is cancelled, as a loop."""

    name: str
    work: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Work until cancelled."""
        await self.work()


class Once:
    """Work that is done once, as a loop: it is tried again until it succeeds, and then rests."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do this work, which may be tried again from its beginning."""
        self.name = name
        self._work = work
        self.is_done = asyncio.Event()

    async def run(self) -> None:
        """Do the work, unless it is done; then wait to be cancelled."""
        if not self.is_done.is_set():
            await self._work()
            self.is_done.set()
        await asyncio.Event().wait()


class LoopReturned(Exception):
    """The loop returned, and must work until it is cancelled."""


@dataclass(slots=True)
class Watch:
    """What is known of a running loop."""

    loop: Loop
    failures: int = 0
    """In a row."""
    outages: int = 0
    """In a row."""
    failing_since: float = 0.0
    """When the first of these failures happened, in monotonic time."""
    problem: str = ""
    running_since: float = inf
    """Since when it has run, in monotonic time; infinite while it does not."""
    reports_turns: bool = False
    is_stopping: bool = False

    def complete(self) -> None:
        """Note that a turn was completed."""
        self.reports_turns = True
        self.recover()

    def recover(self) -> None:
        """Forget the failures."""
        self.failures = self.outages = 0

    def fail(self, problem: str) -> None:
        """Count a failure."""
        if self.failures == 0:
            self.failing_since = time.monotonic()
        self.failures += 1
        self.problem = problem

    @property
    def is_failing(self) -> bool:
        """Whether it keeps failing."""
        return self.failures >= UNREADY_AFTER and not self.seems_well

    @property
    def seems_well(self) -> bool:
        """Whether it has run for long, and says nothing of its turns."""
        return not self.reports_turns and time.monotonic() - self.running_since >= WELL_AFTER_S

    @property
    def needs_restart(self) -> bool:
        """Whether it has kept failing for so long that only another process can help."""
        return self.is_failing and time.monotonic() - self.failing_since >= NOT_ALIVE_AFTER_S


class Supervisor:
    """Runs all background loops of a process."""

    def __init__(self, metrics: Metrics) -> None:
        """Count failures in these metrics."""
        self._metrics = metrics
        self._watches: list[Watch] = []

    @asynccontextmanager
    async def running(self, *loops: Loop) -> AsyncGenerator["Running"]:
        """Run loops meanwhile; at the end they are stopped, and have some seconds for it."""
        running = Running({self._start(watch): watch for watch in map(Watch, loops)})
        try:
            yield running
        finally:
            running.stop()
            await running.ended()

    @property
    def is_ready(self) -> bool:
        """Whether no loop keeps failing."""
        return not any(watch.is_failing for watch in self._watches)

    @property
    def is_alive(self) -> bool:
        """Whether no loop has failed for so long that the process should be restarted."""
        return not any(watch.needs_restart for watch in self._watches)

    @property
    def report(self) -> str:
        """Say `ok`, or which loops keep failing, and why."""
        failing = [watch for watch in self._watches if watch.is_failing]
        if not failing:
            return "ok"
        return "failing: " + "; ".join(
            f"{watch.loop.name} ({watch.failures} times in a row: {watch.problem})"
            for watch in failing
        )

    def _start(self, watch: Watch) -> asyncio.Task[None]:
        self._watches.append(watch)
        self._metrics.loop_failures.labels(watch.loop.name)  # shown from the start
        return asyncio.create_task(self._keep(watch), name=watch.loop.name)

    async def _keep(self, watch: Watch) -> None:
        """Run a loop, again after each failure, until it is stopped."""
        on_completed.set(watch.complete)
        try:
            while not watch.is_stopping:  # noqa: ASYNC110 - it is no wait for the flag
                await asyncio.sleep(await self._run_until_it_fails(watch))
        finally:
            self._watches.remove(watch)

    async def _run_until_it_fails(self, watch: Watch) -> float:
        """Run a loop, and return after how many seconds to run it again."""
        watch.running_since = time.monotonic()
        try:
            with restoring():
                await watch.loop.run()
            if watch.is_stopping:
                return 0.0
            problem: BaseException = LoopReturned(LoopReturned.__doc__)
        except BaseException as error:
            is_requested = isinstance(error, asyncio.CancelledError) and is_being_cancelled()
            if watch.is_stopping or is_requested or isinstance(error, KeyboardInterrupt):
                raise
            problem = error
        if watch.seems_well:
            watch.recover()
        watch.running_since = inf
        if isinstance(problem, DatabaseUnavailable | ConnectionError):
            return _note_outage(watch, problem)
        return self._note_failure(watch, problem)

    def _note_failure(self, watch: Watch, problem: BaseException) -> float:
        watch.fail(described(problem))
        self._metrics.loop_failures.labels(watch.loop.name).inc()
        wait_s = BACKOFF.delay_s(watch.failures, after=None, draw=1.0)
        log.error(
            Event.LOOP_FAILED,
            loop=watch.loop.name,
            error_message=watch.problem,
            failures=watch.failures,
            restart_in_s=wait_s,
            exc_info=problem,
        )
        return wait_s


def _note_outage(watch: Watch, problem: DatabaseUnavailable | ConnectionError) -> float:
    watch.outages += 1
    is_of_database = isinstance(problem, DatabaseUnavailable)
    log.warning(
        Event.DATABASE_UNAVAILABLE if is_of_database else Event.BROKER_LOST,
        during=watch.loop.name,
        error_message=str(problem),
    )
    return OUTAGE_BACKOFF.delay_s(watch.outages, after=None, draw=1.0)


@dataclass(frozen=True, slots=True)
class Running:
    """Loops that were started together."""

    tasks: Mapping[asyncio.Task[None], Watch]

    def stop(self) -> None:
        """Ask the loops to end, without waiting for it."""
        for task, watch in self.tasks.items():
            if watch.is_stopping:
                continue
            watch.is_stopping = True
            if isinstance(watch.loop, Finishing):
                watch.loop.finish()
            else:
                task.cancel()

    async def ended(self) -> None:
        """Wait until the loops have ended, but not for ever."""
        late = await self._late(STOP_WITHIN_S)
        for task in late:
            task.cancel()
        for task in await self._late(CANCEL_WITHIN_S) if late else ():
            log.error(Event.LOOP_STUCK, loop=task.get_name())

    async def _late(self, seconds: float) -> set[asyncio.Task[None]]:
        """Wait for the loops for at most this long, and return those that have not ended."""
        if not self.tasks:
            return set()
        return (await asyncio.wait(self.tasks, timeout=seconds))[1]
