"""Procrastinate: three jobs of which each defers the next, 16 at a time, on PostgreSQL."""

import asyncio
import sys

import procrastinate
import psycopg

import peer

CONCURRENCY = 16
ENDED = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'c' AND status = 'succeeded'"


def connector(size: int) -> procrastinate.PsycopgConnector:
    """Make a pool of connections."""
    return procrastinate.PsycopgConnector(conninfo=peer.DATABASE_URL, min_size=2, max_size=size)


app = procrastinate.App(connector=connector(peer.CLIENTS))


@app.task(name="a")
async def a() -> None:
    """Do nothing, and go on."""
    peer.note("a")
    await b.defer_async()


@app.task(name="b")
async def b() -> None:
    """Do nothing, and go on."""
    peer.note("b")
    await c.defer_async()


@app.task(name="c")
async def c() -> None:
    """Do nothing."""
    peer.note("c")


async def latency(programs: int) -> None:
    """Run one program after the other."""
    looking = await psycopg.AsyncConnection.connect(peer.DATABASE_URL, autocommit=True)

    async def ended() -> int:
        return (await (await looking.execute(ENDED)).fetchone())[0]

    async def run() -> None:
        before = await ended()
        await a.defer_async()
        while await ended() == before:
            await asyncio.sleep(0.001)

    await peer.time_each_task(run, programs)


async def main(command: str, programs: int) -> None:
    """Do what the command says."""
    async with app.open_async():
        if command == "prepare":
            await app.schema_manager.apply_schema_async()
        elif command == "submit":
            await peer.submit_by_tasks(a.defer_async, programs)
        elif command == "latency":
            await latency(programs)
        else:
            await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="never")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 0))
