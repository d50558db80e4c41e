"""Taskiq: a pipeline of three tasks over RabbitMQ, results in Redis, 100 tasks at a time."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from taskiq_aio_pika import AioPikaBroker
from taskiq_pipelines import Pipeline, PipelineMiddleware
from taskiq_redis import RedisAsyncResultBackend

import peer

broker = (
    AioPikaBroker(peer.AMQP_URL, qos=100)
    .with_result_backend(RedisAsyncResultBackend(peer.REDIS_URL))
    .with_middlewares(PipelineMiddleware())
)


@broker.task("a")
async def a(x: int) -> int:
    """Do nothing."""
    peer.note("a")
    return x


@broker.task("b")
async def b(x: int) -> int:
    """Do nothing."""
    peer.note("b")
    return x


@broker.task("c")
async def c(x: int) -> int:
    """Do nothing."""
    peer.note("c")
    return x


async def submit() -> object:
    """Submit a program."""
    return await Pipeline(broker, a).call_next(b).call_next(c).kiq(1)


async def run() -> None:
    """Run a program to its end."""
    await (await submit()).wait_result(check_interval=0.001)


def connected(work: Callable[[int], Awaitable[object]]) -> Callable[[int], object]:
    """Do it with an open broker."""

    async def connect_and_work(programs: int) -> None:
        await broker.startup()
        await work(programs)
        await broker.shutdown()

    return lambda programs: asyncio.run(connect_and_work(programs))


def work(_: int) -> None:
    """Become a worker."""
    command = str(Path(sys.executable).with_name("taskiq"))
    options = ["--workers=1", "--max-async-tasks=100", "--log-level=ERROR"]
    os.execv(command, [command, "worker", "taskiq_pipeline:broker", *options])


if __name__ == "__main__":
    peer.main(
        submit=connected(lambda programs: peer.submit_by_tasks(submit, programs)),
        work=work,
        latency=connected(lambda programs: peer.time_each_task(run, programs)),
    )
