"""Last signal: a worker whose servers are gone ends all the same, within its grace time.

What it took and did not begin is the lease's and the broker's to bring back.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from yarl import URL

from asking import all_finished, submit_many
from black_holes import logged
from journal import Journal
from patience import eventually
from private_postgres import PrivatePostgres
from private_rabbitmq import PrivateRabbit
from processes import Deployment, Process
from tcp_proxy import TcpProxy, proxied

SLOTS = 500
RUNNING = 30
GRACE_S = 2.0

END_WITHIN_S = 30.0
"""Grace time, release, and the closing of connections that nobody answers."""


@pytest.fixture
async def to_servers(
    postgres: PrivatePostgres, node: PrivateRabbit
) -> AsyncIterator[tuple[TcpProxy, TcpProxy]]:
    """Stand before the database and the broker."""
    async with (
        proxied("127.0.0.1", postgres.port) as to_database,
        proxied("127.0.0.1", node.port) as to_broker,
    ):
        yield to_database, to_broker


def start(deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy]) -> Process:
    """Start a worker that reaches its servers by the proxies."""
    to_database, to_broker = to_servers
    url = sa.make_url(deployment.database_url).set(port=to_database.port)
    return deployment.start_work(
        database_url=url.render_as_string(hide_password=False),
        amqp_url=str(URL(deployment.amqp_url).with_port(to_broker.port)),
        concurrency=SLOTS,
        grace_s=GRACE_S,
    )


async def hired(deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy]) -> Process:
    """Start such a worker, and wait until it is ready."""
    worker = start(deployment, to_servers)
    await worker.ready()
    return worker


async def vanish(proxy: TcpProxy) -> None:
    """Swallow everything."""
    proxy.stall()


Go = Callable[[TcpProxy], Awaitable[None]]

WAYS = [pytest.param(TcpProxy.refuse, id="refused"), pytest.param(vanish, id="silent")]


@pytest.mark.parametrize("go", WAYS)
@pytest.mark.timeout(300)
async def test_worker_that_never_reached_its_servers_ends(
    deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy], go: Go
) -> None:
    """It has begun nothing, and waits for its tables."""
    for proxy in to_servers:
        await go(proxy)
    worker = start(deployment, to_servers)
    await logged(worker, "database.unavailable")
    worker.signal(signal.SIGTERM)
    assert await worker.ended(within_s=END_WITHIN_S) == 0


@pytest.mark.parametrize("go", WAYS)
@pytest.mark.timeout(300)
async def test_worker_that_has_done_all_ends_although_its_servers_are_gone(
    deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy], go: Go
) -> None:
    service, worker = await asyncio.gather(deployment.serve(), hired(deployment, to_servers))
    await submit_many(service, [{"jobs": ["tick"]}] * SLOTS)
    await all_finished(deployment)
    for proxy in to_servers:
        await go(proxy)
    worker.signal(signal.SIGTERM)
    assert await worker.ended(within_s=END_WITHIN_S) == 0


@pytest.mark.parametrize("go", WAYS)
@pytest.mark.timeout(300)
async def test_worker_that_waits_for_its_claims_ends_and_their_programs_run_elsewhere(
    deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy], go: Go
) -> None:
    """Invariants 1 and 9: the wake-ups were not acknowledged, so they are nobody's."""
    service = await deployment.serve()
    worker = await hired(deployment, to_servers)  # it finds the tables, and says nothing of them
    await go(to_servers[0])
    run_ids = await submit_many(service, [{"jobs": ["tick"]}] * 200)
    await logged(worker, "database.unavailable")
    await go(to_servers[1])
    worker.signal(signal.SIGTERM)
    assert await worker.ended(within_s=END_WITHIN_S) != 0
    await deployment.work()
    await all_finished(deployment)
    assert {entry.run_id for entry in Journal(deployment.journal).ends()} == set(run_ids)


@pytest.mark.parametrize("go", WAYS)
@pytest.mark.timeout(300)
async def test_worker_that_cannot_record_what_it_did_ends_and_it_is_done_again(
    deployment: Deployment, to_servers: tuple[TcpProxy, TcpProxy], go: Go
) -> None:
    """Invariant 9; the effects of a step are at least once."""
    deployment.settings |= {"lease_s": 6.0}
    service, worker = await asyncio.gather(deployment.serve(), hired(deployment, to_servers))
    gate = deployment.folder / "gate"
    program = {"jobs": ["wait"], "program_data": {"gate": str(gate)}}
    run_ids = await submit_many(service, [program] * RUNNING)

    async def are_begun() -> bool:
        return len(Journal(deployment.journal).begins()) == RUNNING

    await eventually(are_begun)
    for proxy in to_servers:
        await go(proxy)
    gate.touch()
    worker.signal(signal.SIGTERM)
    assert await worker.ended(within_s=END_WITHIN_S) != 0
    other = await deployment.work()
    await all_finished(deployment)
    journal = Journal(deployment.journal)
    assert {journal.ends(run_id)[-1].worker for run_id in run_ids} == {other.name}
