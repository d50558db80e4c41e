"""Loops: whatever befalls one of a service or a worker, all others continue, and programs end.

The loops are those that the product starts: a new one is struck here, too.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from starlette.types import ASGIApp

from brokers import a_console
from calling import NOTIFY_SECRET
from deployments import shared_rabbitmq as shared_rabbitmq
from lines import Lines, of_event
from patience import eventually, in_own_task
from program_executor import JobContext, job
from program_service.app import create_app
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.retry import Retry
from program_service.loops import supervisor as supervision
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Broker
from program_service.wakeups.memory import MemoryBroker
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from program_workers.library import JobLibrary
from program_workers.pages import pages
from program_workers.worker import Stopped, Worker
from servers import Place
from serving import URL, json_of
from stage import Shift, quick_settings
from striking import Fault, StrikableLoop, strikable_loops

SOON = Retry(initial_s=0.01, max_s=0.05, jitter="none")

OF_SERVICE = {
    "migration",
    "relay",
    "submissions",
    "waiting",
    "sweeper",
    "purger",
    "connections",
    "gauges",
    "callback_jobs",
    "notify_ends",
    "notify_cancels",
    "feed",
}
OF_WORKER = {
    "claims",
    "outcomes",
    "job_data",
    "leases",
    "control",
    "heartbeat",
    "endpoints",
    "loop_watch",
    "intake",
    "recall",
    "asking",
}
"""Some that must be among those that are struck; the product decides which there are."""

MONITOR = "broker-monitor"
OVER_RABBITMQ = {MONITOR, "announcements", "failing-queues", "consumer:default"}

TAKE_TURNS = {"relay", "sweeper", "purger", "gauges"}
"""Those that are noticed when they hang in what everybody's programs and probes ask of them, as is
the monitor of a broker that is asked over a network."""

ON_THE_WAY = {"submissions", "claims", "outcomes", "intake", "consumer:default"}
"""No program ends while one of these hangs."""


@job
async def step(_ctx: JobContext) -> None:
    """Be done."""


@dataclass(frozen=True, slots=True)
class World:
    """A service and a worker."""

    loops: Sequence[StrikableLoop]
    service: httpx.AsyncClient
    worker: httpx.AsyncClient
    shift: Shift
    of_service: supervision.Supervisor
    broker: Broker

    def pages_of(self, loop: StrikableLoop) -> httpx.AsyncClient:
        """Return what answers the probes of the process that a loop is in."""
        return self.service if loop.supervisor is self.of_service else self.worker

    @property
    def of_broker(self) -> set[str]:
        """The loops of the driver."""
        return OVER_RABBITMQ if isinstance(self.broker, RabbitBroker) else set()

    @property
    def take_turns(self) -> set[str]:
        """Those whose hanging turns are noticed."""
        return TAKE_TURNS | self.of_broker & {MONITOR}

    async def submit(self) -> str:
        """Submit a program."""
        answer = await self.service.post("/programs", json={"jobs": ["step", "step"]})
        assert answer.status_code == 201, answer.text
        return str(json_of(answer)["run_id"])

    async def program_ends(self) -> None:
        """Submit a program, and wait until it has finished."""
        await self.ends(await self.submit())

    async def ends(self, run_id: str) -> None:
        """Wait until a program has finished."""

        async def has_finished() -> bool:
            self.shift.look_alive()
            answer = await self.service.get(f"/programs/{run_id}", headers={"Prefer": "wait=1"})
            return bool(json_of(answer)["status"] == "finished")

        await eventually(has_finished)

    async def count_failures(self, loop: StrikableLoop) -> float:
        """Return the metric of a loop."""
        text = (await self.pages_of(loop).get("/metrics")).text
        start = f'program_executor_loop_failures_total{{loop="{loop.name}"}} '
        (line,) = [line for line in text.splitlines() if line.startswith(start)]
        return float(line.removeprefix(start))

    async def until_noticed(self, loop: StrikableLoop) -> None:
        """Wait until a loop that hangs is started again; give every loop something to do."""
        before = loop.failures

        async def has_failed() -> bool:
            await self.service.get("/metrics")
            await self.service.get("/readyz")
            await self.submit()
            return loop.failures > before

        await eventually(has_failed)

    async def until_status(self, loop: StrikableLoop, path: str, status: int) -> str:
        """Wait until the process of a loop answers with this status, and return what it says."""

        async def answer() -> str:
            told = await self.pages_of(loop).get(path)
            return told.text if told.status_code == status else ""

        return await eventually(answer)

    async def all_are_well(self) -> None:
        """Wait until both processes say that they are ready; both live."""
        for pages_ in (self.service, self.worker):

            async def is_ready(asked: httpx.AsyncClient = pages_) -> bool:
                return (await asked.get("/readyz")).status_code == httpx.codes.OK

            await eventually(is_ready)
            assert (await pages_.get("/livez")).status_code == httpx.codes.OK


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[StrikableLoop]:
    """Return the loops that run, which restart soon after a failure."""
    monkeypatch.setattr(supervision, "BACKOFF", SOON)
    monkeypatch.setattr(supervision, "OUTAGE_BACKOFF", SOON)
    return strikable_loops(monkeypatch)


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest, place: Place) -> str:
    """Return the URL of a RabbitMQ, or nothing beside SQLite, where queues are in memory."""
    is_embedded = place.url.startswith("sqlite")
    return "" if is_embedded else request.getfixturevalue("shared_rabbitmq")


@pytest.fixture
async def brokers(amqp_url: str) -> AsyncIterator[Callable[[], Broker]]:
    """Return what makes a process's broker."""
    if not amqp_url:
        one = MemoryBroker()
        yield lambda: one
        return
    async with a_console(amqp_url) as console:
        made = []

        def make() -> Broker:
            name = console.queue_name
            made.append(RabbitBroker(console.url, queue_name=name, metrics=Metrics()))
            return made[-1]

        yield make
        for broker in made:
            await broker.close()


@asynccontextmanager
async def a_world(
    database: Database, loops: Sequence[StrikableLoop], brokers: Callable[[], Broker]
) -> AsyncGenerator[World]:
    """Serve, with a worker."""
    settings, broker, metrics = (
        quick_settings(lease_s=6, notify_secret=NOTIFY_SECRET),
        brokers(),
        Metrics(),
    )
    app = create_app(settings, database=database, broker=broker, metrics=Metrics())
    library = JobLibrary([step])
    worker = Worker(settings, database, brokers(), library=library, metrics=metrics)
    its_pages = pages(worker.is_ready.is_set, worker.supervisor, metrics)
    async with app.router.lifespan_context(app), asking(app) as service, asking(its_pages) as told:
        shift = Shift(worker, metrics)
        world = World(loops, service, told, shift, app.state.services.supervisor, broker)
        await world.all_are_well()
        yield world
        assert await shift.stop() is Stopped.DRAINED


def asking(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client of an application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL, timeout=60)


@pytest.fixture
async def world(
    database: Database, loops: Sequence[StrikableLoop], brokers: Callable[[], Broker]
) -> AsyncIterator[World]:
    """Serve, with a worker."""
    async with in_own_task(a_world(database, loops, brokers)) as running:
        yield running


async def until_it_fails(loop: StrikableLoop, fault: Fault) -> None:
    """Strike a loop until it fails: some faults are met by what it calls, as by a driver."""
    before = loop.failures

    async def has_failed() -> bool:
        if loop.failures == before:
            loop.strike(fault)
            await asyncio.sleep(random.uniform(0.0, 0.2))  # to meet it elsewhere the next time
        return loop.failures > before

    await eventually(has_failed)


@pytest.mark.parametrize("fault", Fault)
async def test_loop_that_ends_is_restarted_and_all_others_continue(
    world: World, logs: Lines, fault: Fault
) -> None:
    names = [loop.name for loop in world.loops]
    assert {*names} >= OF_SERVICE | OF_WORKER | world.of_broker
    for loop in world.loops:
        run_id = await world.submit()
        await until_it_fails(loop, fault)
        await world.ends(run_id)
    told = of_event(logs, "loop.failed")
    assert [line["loop"] for line in told] == names
    assert all(line["exc_info"] and line["failures"] == 1 for line in told)
    for loop in world.loops:
        assert await world.count_failures(loop) == 1
    await world.all_are_well()


async def test_loop_that_hangs_holds_up_no_other(world: World, logs: Lines) -> None:
    await world.program_ends()
    for loop in world.loops:
        is_noticed = world.pages_of(loop) is world.service and loop.name in world.take_turns
        if is_noticed:
            loop.hangs_in_turn = True
            await until_it_fails(loop, Fault.CANCEL)  # its first turn comes soon
            await world.until_noticed(loop)
        else:
            loop.hang()
            await until_it_fails(loop, Fault.CANCEL)
            await world.all_are_well()
        if loop.name in ON_THE_WAY:
            loop.release()
        await world.program_ends()
        loop.release()
        await world.program_ends()
        await world.all_are_well()
    late = [
        line for line in of_event(logs, "loop.failed") if "TimeoutError" in line["error_message"]
    ]
    assert {line["loop"] for line in late} == world.take_turns


@pytest.mark.usefixtures("logs")  # rendering hundreds of tracebacks takes most of the time
async def test_loop_that_keeps_failing_is_reported_by_the_probes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "NOT_ALIVE_AFTER_S", 0.0)
    monkeypatch.setattr(supervision, "WELL_AFTER_S", 0.3)
    for loop in world.loops:
        loop.is_broken = True
        await until_it_fails(loop, Fault.RAISE)
        for path in ("/readyz", "/livez"):
            told = await world.until_status(loop, path, 503)
            assert f"failing: {loop.name} (" in told
            assert "Unforeseen" in told
        loop.is_broken = False
        await world.program_ends()
        await world.all_are_well()
