"""The alerts, each made to fire by a real fault: in real processes, seen by a real Prometheus.

It has less patience than in production: see private_prometheus.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from asking import all_finished, select, submit, submit_many
from brokers import Console, a_queue_name
from deployments import deployed
from deployments import node as node
from deployments import postgres as postgres
from deployments import shared_node as shared_node
from endpoint_server import Call, Reply, endpoint
from journal import Journal
from patience import eventually
from private_postgres import PrivatePostgres
from private_prometheus import PrivatePrometheus
from private_rabbitmq import PrivateRabbit
from processes import Deployment, Process

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

OTHERS = 4
WELL_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment of one service and one worker, all of them well, and who watches them."""

    deployment: Deployment
    service: Process
    worker: Process
    prometheus: PrivatePrometheus

    async def let_one_be_due(self, *jobs: str, for_s: float, **fields: object) -> str:
        """Submit a program as if it had been due for so long."""
        run_id = await submit(self.service, *jobs, **fields)
        long_ago = "UPDATE {programs} SET due_at = now() - $2::float8 * interval '1 second'"
        await select(self.deployment, f"{long_ago} WHERE run_id = $1", run_id, for_s)
        return run_id


@pytest.fixture
async def watched(
    postgres: PrivatePostgres,
    node: PrivateRabbit,
    prometheus: PrivatePrometheus,
    tmp_path: Path,
) -> AsyncIterator[Watched]:
    """Run a program in a deployment of our own; nothing fires, then."""
    console = Console(node.url, a_queue_name())
    async with deployed(tmp_path, postgres.url, console, lease_s=2) as deployment:
        service, worker = await asyncio.gather(
            deployment.serve(unknown_jobs="accept", callback_allow="127.0.0.0/8"),
            deployment.work(modules=["jobs_file", "jobs_observed"], callback_allow="127.0.0.0/8"),
        )
        await submit(service, "flaky")
        await all_finished(deployment)
        await prometheus.scrape(service=[service], worker=[worker])
        await prometheus.is_quiet()
        yield Watched(deployment, service, worker, prometheus)


async def test_service_that_is_gone_is_told_of(watched: Watched) -> None:
    await watched.service.stop()
    await watched.prometheus.fires("ServiceDown")
    await watched.prometheus.fires("ProcessDown")
    assert "ProgramExecutorWorkersDown" not in await watched.prometheus.firing()


async def test_workers_that_are_gone_and_what_waits_for_them_are_told_of(watched: Watched) -> None:
    await watched.worker.stop()
    await watched.prometheus.fires("WorkersDown")
    assert "ProgramExecutorServiceDown" not in await watched.prometheus.firing()
    await watched.let_one_be_due("tick", for_s=100)
    await watched.prometheus.fires("QueueWithoutWorkers")
    await watched.prometheus.fires("NothingConsumed")
    assert "ProgramExecutorProgramsWait" not in await watched.prometheus.firing()


async def test_program_that_nobody_takes_although_slots_are_free_is_told_of(
    watched: Watched,
) -> None:
    await watched.let_one_be_due("unheard_of", for_s=100)
    await watched.prometheus.fires("NothingConsumed")
    others = {"ProgramExecutorProgramsWait", "ProgramExecutorQueueWithoutWorkers"}
    assert not others & await watched.prometheus.firing()


async def test_program_that_waits_for_long_beside_others_that_run_is_told_of(
    watched: Watched,
) -> None:
    async def others_run() -> None:
        while True:
            await submit(watched.service, "tick", program_data={"seconds": 0})
            await asyncio.sleep(0.2)

    running = asyncio.create_task(others_run())
    await watched.let_one_be_due("unheard_of", for_s=400)
    await watched.prometheus.fires("ProgramsWait")
    assert "ProgramExecutorNothingConsumed" not in await watched.prometheus.firing()
    running.cancel()


async def test_database_that_is_away_is_told_of_until_it_is_back(
    watched: Watched, postgres: PrivatePostgres
) -> None:
    await asyncio.to_thread(postgres.kill)
    try:
        await watched.prometheus.fires("TableNotRead")
        assert "ProgramExecutorServiceDown" not in await watched.prometheus.firing()
    finally:
        await asyncio.to_thread(postgres.start)
    await watched.prometheus.is_quiet()


async def test_broker_that_is_away_is_told_of_until_it_is_back(
    watched: Watched, node: PrivateRabbit
) -> None:
    await asyncio.to_thread(node.kill)
    await submit(watched.service, "tick", program_data={"seconds": 0})
    await watched.prometheus.fires("PublishFails")
    await asyncio.to_thread(node.start)
    await all_finished(watched.deployment)
    await watched.prometheus.is_quiet()


async def test_programs_that_fail_are_told_of(watched: Watched) -> None:
    await submit_many(watched.service, [{"jobs": ["broken"]}] * 10)
    await watched.prometheus.fires("ProgramsFail")


async def test_worker_that_died_and_the_leases_that_it_lost_are_told_of(
    watched: Watched, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    held = {"jobs": ["wait"], "program_data": {"gate": str(gate)}}
    await submit_many(watched.service, [held] * OTHERS)

    async def are_held() -> bool:
        return len(Journal(watched.deployment.journal).begins()) == OTHERS

    await eventually(are_held)
    other = await watched.deployment.work()
    await watched.prometheus.scrape(service=[watched.service], worker=[watched.worker, other])
    await watched.worker.kill()
    gate.touch()
    await watched.prometheus.fires("ProcessDown")
    await watched.prometheus.fires("LeasesLost")
    assert "ProgramExecutorWorkersDown" not in await watched.prometheus.firing()
    await all_finished(watched.deployment)


async def test_endpoint_that_is_broken_is_told_of_until_it_is_well(watched: Watched) -> None:
    is_well = False

    async def answer(_call: Call) -> Reply:
        return Reply(200 if is_well else 503)

    async with endpoint(answer) as server:
        body = {"url": server.url, "retry": {"initial_s": 0, "max_attempts": 100}}
        assert (await watched.service.client.put("/jobs/charge", json=body)).status_code == 201
        await submit(watched.service, "charge")
        await watched.prometheus.fires("BreakerOpen")
        is_well = True
        await all_finished(watched.deployment, within_s=WELL_WITHIN_S)
        await watched.prometheus.is_quiet()
