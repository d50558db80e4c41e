"""Dead letters: what is no wake-up is put aside for people to look at, and nobody waits for it."""

import asyncio
from typing import Any

import aio_pika
import pytest

from asking import all_finished, submit
from brokers import Console
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from processes import Deployment
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from program_service.wakeups.rabbitmq.topology import MAX_DEAD
from wakeups import a_wakeup, until_confirmed, until_deep

Arguments = dict[str, Any]

LETTERS = (b"no json", b"\xff\xfe\x00", b"{}", b'{"run_ids": ["p-1"]}', b"x" * 1_000_000)


async def test_messages_that_are_no_wakeups_are_put_aside_and_block_nothing(
    deployment: Deployment, console: Console
) -> None:
    service, worker = await asyncio.gather(deployment.serve(), deployment.work(concurrency=1))
    await until_deep(console, "default", 0)  # what is sent to no queue is gone
    for letter in LETTERS:
        await console.send("default", letter)
    await submit(service, "tick", program_data={"seconds": 0.05})
    await all_finished(deployment)
    await until_deep(console, "dead-letters", len(LETTERS))
    assert await worker.count("wakeups_received", result="unparsable") == len(LETTERS)
    assert sorted([await console.get("dead-letters") for _ in LETTERS], key=str) == sorted(
        LETTERS, key=str
    )
    assert worker.log.count("wakeup.unparsable") == len(LETTERS)
    await until_deep(console, "default", 0)  # a wake-up may have been sent again meanwhile


async def test_dead_letters_are_kept_through_restarts_and_bounded(console: Console) -> None:
    """A broker refuses to declare a queue with other arguments than it has."""
    rabbit = RabbitBroker(console.url, queue_name=console.queue_name, metrics=Metrics())
    await until_confirmed(rabbit, a_wakeup())
    await rabbit.close()
    name = console.name("dead-letters")
    kept: Arguments = {"x-queue-type": "quorum", "x-max-length": MAX_DEAD}
    endless: Arguments = {"x-queue-type": "quorum"}
    async with await aio_pika.connect(console.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True, arguments=kept)
        with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed):
            await channel.declare_queue(name, durable=True, arguments=endless)
