"""Scene: two servers, two services and three workers, and every network between them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brokers import Console, a_queue_name
from chaos.storm.clock import Clock
from chaos.storm.foreign import HostileEndpoint, Strays, hostile_endpoint
from chaos.storm.network import Link
from chaos.storm.places import Place
from chaos.storm.schedule import LEASE_S, SERVICES, WORKERS
from chaos.storm.witness import INSTALL
from journal import Entry, Journal
from private_postgres import NoPostgresError, PrivatePostgres, execute, free_port
from private_rabbitmq import NoRabbitError, PrivateRabbit
from processes import QUICK, Deployment

SLOTS = 8
QUEUES = ("default", "far")
STARTS = 5
"""How often a killed server is started before we give up: its old children may linger."""


@dataclass(slots=True)
class Scene:
    """Everything that runs."""

    postgres: PrivatePostgres
    node: PrivateRabbit
    console: Console
    deployment: Deployment
    places: list[Place]
    endpoint: HostileEndpoint
    poison: set[str] = field(default_factory=set)
    """The programs that were made to fail."""
    database_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    broker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    worker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    service_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One of each starts at a time: on a slow machine nobody would be left to be hit."""

    @property
    def workers(self) -> list[Place]:
        """The places of workers."""
        return [place for place in self.places if place.role.startswith("worker")]

    @property
    def services(self) -> list[Place]:
        """The places of services."""
        return [place for place in self.places if place.role.startswith("service")]

    @property
    def journal(self) -> Journal:
        """The journal as it is now."""
        return Journal(self.deployment.journal)

    def running(self, place: Place) -> list[Entry]:
        """Return the steps that a worker runs."""
        return self.journal.running().get(place.name, [])

    async def bring_database_back(self) -> None:
        """Start the database."""
        for _ in range(STARTS - 1):
            try:
                await asyncio.to_thread(self.postgres.start)
            except NoPostgresError:
                await asyncio.sleep(0.5)
            else:
                return
        await asyncio.to_thread(self.postgres.start)

    async def bring_broker_back(self) -> None:
        """Start the broker."""
        try:
            await asyncio.to_thread(self.node.start)
        except NoRabbitError:
            await asyncio.to_thread(self.node.start)

    def revive_for_ever(self) -> Iterator[None]:
        """Look after the processes, at each turn."""
        while True:
            for place in self.places:
                place.revive()
            yield

    async def ready(self) -> None:
        """Wait until every process says that it is ready."""
        for place in self.places:
            await place.ready_at_last()


@asynccontextmanager
async def scene(
    folder: Path, postgres: PrivatePostgres, node: PrivateRabbit
) -> AsyncGenerator[Scene]:
    """Set the scene; all processes are ready, and nothing was submitted yet."""
    async with AsyncExitStack() as stack:
        queue_name = a_queue_name()
        deployment = Deployment(folder, postgres.url, node.url, queue_name, table_name="programs")
        deployment.journal.touch()
        roles = [f"service-{chr(97 + number)}" for number in range(SERVICES)]
        roles += [f"worker-{chr(97 + number)}" for number in range(WORKERS)]
        places = []
        for role in roles:
            links = Link("127.0.0.1", postgres.port), Link("127.0.0.1", node.port)
            for link in links:
                await link.start()
                stack.push_async_callback(link.refuse)
            places.append(_place(role, deployment, *links))
        endpoint = await stack.enter_async_context(hostile_endpoint())
        console = Console(node.url, queue_name)
        ready = Scene(postgres, node, console, deployment, places, endpoint)
        stack.push_async_callback(_end, ready)
        await _begin(ready)
        yield ready


def _place(role: str, deployment: Deployment, database: Link, broker: Link) -> Place:
    settings = QUICK | {
        "table_name": deployment.table_name,
        "queue_name": deployment.queue_name,
        "lease_s": LEASE_S,
        "concurrency": SLOTS,
        "database_pool_size": 5,
        "callback_allow": "127.0.0.0/8",
        # one worker serves one queue only, so that programs change hands
        "queues": QUEUES[0] if role == "worker-a" else ",".join(QUEUES),
    }
    clock = Clock(deployment.folder / f"{role}.clock")
    strays = Strays(deployment.folder / f"{role}.strays")
    port = free_port()
    return Place(role, deployment.journal, port, settings, database, broker, clock, strays)


async def _begin(ready: Scene) -> None:
    """Start one service, which makes the tables; watch these; start the others."""
    await ready.places[0].start().ready()
    install = INSTALL.format(programs=ready.deployment.table_name)
    await asyncio.to_thread(execute, ready.postgres.url, install)
    for place in ready.places[1:]:
        place.start()
    await ready.ready()


async def _end(ready: Scene) -> None:
    for place in ready.places:
        for process in (*place.former, place.process):
            if process is not None:
                await process.close()
