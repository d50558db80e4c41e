"""Odd queues: rows of older releases, and of people, name queues that RabbitMQ cannot have."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from brokers import a_console, some_rabbitmq
from private_rabbitmq import NoRabbitError
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.telemetry import Metrics
from servers import on_sqlite
from serving import Service, register, serving
from skips import or_skip
from wakeups import a_driver

ODD = ["größe", "a(b)", "x" * 255, "a\nb", "dead-letters", " ", "a,b"]


@job
async def ship(_ctx: JobContext) -> None:
    """Do nothing."""


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """Return the URL of a real broker."""
    with or_skip("RabbitMQ", some_rabbitmq(), NoRabbitError) as url:
        yield url


@pytest.fixture
async def service(database: Database, rabbitmq_url: str) -> AsyncIterator[Service]:
    """Serve over a real broker, and sweep often."""
    async with a_console(rabbitmq_url) as console:
        async with a_driver(rabbitmq_url, console.queue_name, Metrics()) as broker:
            driver = cast("Any", broker)
            async with serving(database, broker=driver, jobs=["ship"]) as served:
                yield served
        await console.delete("a,b", " ")


@on_sqlite
async def test_queues_that_cannot_be_end_no_loop_and_hold_up_nobody(
    service: Service, database: Database
) -> None:
    """Invariant 12: one bad row never fails its neighbours."""
    await service.crew.hire(ship)
    odd = []
    for number, queue in enumerate(ODD):
        await register(database, f"odd {number}", queue=queue)
        odd.append((await service.submit(f"odd {number}"))["run_id"])
    for _ in range(3):
        run_id = (await service.submit("ship"))["run_id"]
        assert (await service.ended(run_id))["status"] == "finished"
    for run_id in odd:
        assert (await service.get(run_id))["status"] == "pending"
        assert (await service.explain(run_id))["run_id"] == run_id
    assert (await service.client.get("/metrics")).status_code == 200
    failures = [
        sample.value
        for family in service.metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("loop_failures_total")
    ]
    assert sum(failures) == 0
    service.crew.look_alive()
