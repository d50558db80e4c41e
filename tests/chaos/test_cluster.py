"""A RabbitMQ cluster: nodes die by `kill -9` while programs run, the leader of the queue first."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from asking import all_finished, attempts, submit_many
from brokers import Console, a_queue_name
from deployments import deployed
from journal import Journal
from patience import eventually
from private_cluster import ClusterNode, PrivateCluster, private_cluster
from private_postgres import PrivatePostgres
from private_rabbitmq import NoRabbitError
from processes import Deployment, Process
from skips import or_skip
from verdict import verdict_on

PROGRAMS, MORE = 200, 100
KILLS = 2
UNDER_WAY = 10
AGAIN_WITHIN_S = 60.0
"""For new claims while a node is dead; a leader is chosen in less than a second."""

Programs = list[str]


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[PrivateCluster]:
    """Start a cluster that nobody else uses."""
    with or_skip("RabbitMQ", private_cluster(), NoRabbitError) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: PrivateCluster) -> Iterator[PrivateCluster]:
    """Return a whole cluster, of which the test may kill nodes."""
    yield shared_cluster
    shared_cluster.start()


@pytest.fixture
async def deployment(
    postgres: PrivatePostgres, cluster: PrivateCluster, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Return tables and queues of this test's own, whose processes know all nodes."""
    console = Console(cluster.url, a_queue_name())
    async with deployed(tmp_path, postgres.url, console, concurrency=20) as ready:
        yield ready


async def are_under_way(deployment: Deployment) -> None:
    """Wait until many steps run, by what the jobs wrote down."""

    async def many_run() -> bool:
        running = Journal(deployment.journal).running()
        return sum(map(len, running.values())) >= UNDER_WAY

    await eventually(many_run, within_s=60)


async def are_claimed(deployment: Deployment, run_ids: Programs) -> None:
    """Wait until some of these programs were begun: somebody was woken for them."""

    async def have_begun() -> bool:
        begun = {entry.run_id for entry in Journal(deployment.journal).begins()}
        return len(begun.intersection(run_ids)) >= UNDER_WAY

    await eventually(have_begun, within_s=AGAIN_WITHIN_S)


async def leader_of(cluster: PrivateCluster, queue: str) -> ClusterNode:
    """Wait until the queue has a leader, and return it."""

    async def look() -> ClusterNode | None:
        return await asyncio.to_thread(cluster.leader_of, queue)

    leader = await eventually(look, within_s=60)
    assert leader is not None
    return leader


async def submit_some(service: Process, count: int) -> Programs:
    """Submit programs of three steps."""
    return await submit_many(service, [{"jobs": ["tick"] * 3}] * count)


async def require_everything_done_once(deployment: Deployment) -> None:
    """Every program finished; every step was begun, ended and recorded once, and in order."""
    await all_finished(deployment, within_s=180)
    verdict = await verdict_on(deployment)
    verdict.require_order()
    verdict.require_ends()
    assert verdict.journal.begun_again() == []
    written = Counter((each["run_id"], each["step"]) for each in await attempts(deployment))
    assert written == Counter(entry.of for entry in verdict.journal.ends())
    print(f"\n{verdict.summary()}")


@pytest.mark.timeout(600)
async def test_programs_go_on_while_the_leader_of_their_queue_is_killed_again_and_again(
    deployment: Deployment, cluster: PrivateCluster
) -> None:
    """Invariants 1, 2, 4 and 5: the dead leader's wake-ups are with its followers, or come anew."""
    service, *_ = await asyncio.gather(deployment.serve(), deployment.work(), deployment.work())
    killed = []
    for _ in range(KILLS):
        leader = await leader_of(cluster, f"{deployment.queue_name}.default")
        await submit_some(service, PROGRAMS)
        await are_under_way(deployment)
        await asyncio.to_thread(cluster.kill, leader)
        killed.append(leader.name)
        # submitted after its death, and claimed before its return
        await are_claimed(deployment, await submit_some(service, MORE))
        await asyncio.to_thread(cluster.start)
    await require_everything_done_once(deployment)
    reconnects = [await each.count("broker_reconnects") for each in deployment.processes]
    print(f"killed {killed}; connections opened anew by service and workers: {reconnects}")


@pytest.mark.timeout(600)
async def test_programs_are_accepted_without_a_majority_and_run_when_it_is_back(
    deployment: Deployment, cluster: PrivateCluster
) -> None:
    """Invariants 1 and 2: one node of three confirms nothing."""
    service, *_ = await asyncio.gather(deployment.serve(), deployment.work(), deployment.work())
    leader = await leader_of(cluster, f"{deployment.queue_name}.default")
    other = next(node for node in cluster.nodes if node is not leader)
    await submit_some(service, PROGRAMS)
    await are_under_way(deployment)
    await asyncio.to_thread(cluster.kill, leader, other)
    meanwhile = await submit_some(service, MORE)

    async def is_not_confirmed() -> bool:
        return await service.count("wakeups_published", result="failed") > 0

    await eventually(is_not_confirmed, within_s=60)
    assert (await service.client.get("/readyz")).status_code == httpx.codes.OK
    await asyncio.to_thread(cluster.start)
    await are_claimed(deployment, meanwhile)
    await require_everything_done_once(deployment)
