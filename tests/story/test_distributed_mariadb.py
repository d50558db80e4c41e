"""Distributed on MariaDB: a whole life with a service and two workers as processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asking import submit_many
from brokers import Console
from deployments import console as console
from deployments import deployed
from deployments import shared_rabbitmq as shared_rabbitmq
from journal import Journal
from patience import eventually
from processes import Deployment, Process


@pytest.fixture
async def deployment(
    mariadb_url: str, console: Console, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Return tables and queues of this test's own; no process runs yet."""
    async with deployed(tmp_path, mariadb_url, console, lease_s=3) as ready:
        yield ready


async def until_all(service: Process, status: str, count: int) -> None:
    """Wait until so many programs have a status, as the API says."""

    async def are() -> bool:
        answer = await service.client.get("/programs", params={"status": status, "limit": 100})
        return len(answer.json()["programs"]) == count

    await eventually(are, within_s=90)


async def test_programs_finish_on_two_workers_of_which_one_dies(deployment: Deployment) -> None:
    """Invariants 1, 3, 4 and 5; rule R15."""
    service, first, second = await asyncio.gather(
        deployment.serve(), deployment.work(concurrency=5), deployment.work(concurrency=5)
    )
    program = {"jobs": ["tick"] * 3, "program_data": {"seconds": 0.1}}
    await submit_many(service, [program] * 40)

    async def both_work() -> bool:
        running = Journal(deployment.journal).running()
        return {first.name, second.name} <= running.keys()

    await eventually(both_work)
    await second.kill()
    await until_all(service, "finished", 40)
    journal = Journal(deployment.journal)
    assert not journal.out_of_order()
    again = journal.begun_again()
    assert len(again) <= 5
    assert {entry.worker for entry, _ in again} <= {second.name}
