"""Oban for Python: three jobs of which each enqueues the next, 200 at a time, on PostgreSQL."""

import asyncio
import signal
import sys

import psycopg
from oban import Job, Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

import peer

LIMIT = 200
ENDED = "SELECT count(*) FROM oban_jobs WHERE worker LIKE '%C' AND state = 'completed'"


@worker(queue="programs")
class A:
    """Do nothing, and go on."""

    async def process(self, job: Job) -> None:
        """Note it."""
        peer.note("a")
        await B.enqueue(job.args)


@worker(queue="programs")
class B:
    """Do nothing, and go on."""

    async def process(self, job: Job) -> None:
        """Note it."""
        peer.note("b")
        await C.enqueue(job.args)


@worker(queue="programs")
class C:
    """Do nothing."""

    async def process(self, _job: Job) -> None:
        """Note it."""
        peer.note("c")


async def latency(programs: int) -> None:
    """Run one program after the other."""
    looking = await psycopg.AsyncConnection.connect(peer.DATABASE_URL, autocommit=True)

    async def ended() -> int:
        return (await (await looking.execute(ENDED)).fetchone())[0]

    async def run() -> None:
        before = await ended()
        await A.enqueue({"x": 1})
        while await ended() == before:
            await asyncio.sleep(0.001)

    await peer.time_each_task(run, programs)


async def main(command: str, programs: int) -> None:
    """Do what the command says, with an Oban; only a worker has queues."""
    size = peer.CLIENTS if command == "submit" else 10
    async with AsyncConnectionPool(peer.DATABASE_URL, max_size=size, open=False) as pool:
        if command == "prepare":
            await install(pool)
            return
        async with Oban(pool=pool, queues={"programs": LIMIT} if command == "work" else {}):
            if command == "submit":
                await peer.submit_by_tasks(lambda: A.enqueue({"x": 1}), programs)
            elif command == "latency":
                await latency(programs)
            else:
                stopping = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
                await stopping.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 0))
