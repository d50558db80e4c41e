"""Long jobs: no job is held against RabbitMQ's delivery acknowledgement timeout.

Acceptance item 3 of the distributed engine.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from asking import all_finished, attempts, submit, submit_many
from brokers import Console, a_queue_name
from deployments import deployed, node_or_skip
from journal import Journal
from patience import eventually
from private_postgres import PrivatePostgres
from processes import Deployment

CONSUMER_TIMEOUT_S = 10
JOB_S = 90


@pytest.fixture
async def strict(postgres: PrivatePostgres, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Return a deployment on a broker that cuts off who holds a delivery for 10 s."""
    timeout_ms = CONSUMER_TIMEOUT_S * 1_000
    with node_or_skip(consumer_timeout=timeout_ms, channel_tick_interval=1_000) as node:
        console = Console(node.url, a_queue_name())
        async with deployed(tmp_path, postgres.url, console) as ready:
            yield ready


@asynccontextmanager
async def held_delivery(deployment: Deployment) -> AsyncGenerator[AbstractChannel]:
    """Hold a delivery in a plain consumer, as those do that acknowledge after the job."""
    async with await aio_pika.connect(deployment.amqp_url) as connection:
        channel = await connection.channel()
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        queue = await channel.declare_queue(
            f"{deployment.queue_name}.held", durable=True, arguments=arguments
        )
        held = asyncio.Event()

        async def hold(_message: aio_pika.abc.AbstractIncomingMessage) -> None:
            held.set()

        await queue.consume(hold)
        await channel.default_exchange.publish(aio_pika.Message(b"held"), queue.name)
        await asyncio.wait_for(held.wait(), 30)
        yield channel


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_job_that_outlasts_the_brokers_patience_runs_once_and_its_worker_goes_on(
    strict: Deployment,
) -> None:
    """Acceptance 3: the control is cut off, the worker is not, though more wakes it meanwhile."""
    service, worker = await asyncio.gather(strict.serve(), strict.work(concurrency=1))
    async with held_delivery(strict) as control:
        began = time.monotonic()
        long_one = await submit(service, "tick", program_data={"seconds": JOB_S})
        # they find no slot: their wake-ups must not be held either
        short = {"jobs": ["tick"], "program_data": {"seconds": 0.1}}
        await submit_many(service, [short] * 40)
        await asyncio.wait_for(asyncio.shield(control.closed()), 5 * CONSUMER_TIMEOUT_S)
        cut_off_s = time.monotonic() - began

    async def has_ended() -> bool:
        await asyncio.sleep(0.5)
        return bool(Journal(strict.journal).ends(long_one))

    await eventually(has_ended, within_s=JOB_S + 60)
    assert await worker.count("consumer_cancelled") == 0
    assert await worker.count("broker_reconnects") == 0
    await all_finished(strict)
    await submit_many(service, [short] * 5)
    await all_finished(strict)
    journal = Journal(strict.journal)
    print(
        f"\nthe control was cut off after {cut_off_s:.1f} s; the job of {JOB_S} s began"
        f" {len(journal.begins(long_one))} time; 45 others ran after it; the worker's consumer was"
        f" cancelled {await worker.count('consumer_cancelled'):.0f} times, its connection opened"
        f" anew {await worker.count('broker_reconnects'):.0f} times"
    )
    assert cut_off_s < JOB_S
    assert [entry.attempt for entry in journal.begins(long_one)] == [1]
    assert len(journal.ends()) == 46
    assert not journal.begun_again()
    assert {each["outcome"] for each in await attempts(strict)} == {"done"}
