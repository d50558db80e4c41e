"""Ours: everything that is measured on the product, part by part."""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

import callbacks
import history
import sqlite_dev
from drains import Table, drained, newest
from empty_route import PATH
from grounds import Grounds
from load import Connection, post_rate
from measuring import Figures, percentiles_ms, rss_mib
from nothing import NAMES
from product import BODY, Product

WARM_UP = 10
WAIT = "Prefer: wait=30\r\n"
CALLBACK_JOBS = [f"call_{name}" for name in NAMES]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: programs of a drain, single requests, finished rows of the long table."""

    programs: int
    requests: int
    finished_rows: int = 0


async def measure(grounds: Grounds, plan: Plan) -> Figures:
    """Measure all parts, each on empty tables."""
    figures: Figures = {}
    for part in (submits, drains, latency, callback_drain, history_drain):
        async with product(grounds) as ours:
            figures |= await part(ours, grounds, plan)
    return figures | await sqlite_dev.drain(plan.programs)


@asynccontextmanager
async def product(grounds: Grounds) -> AsyncIterator[Product]:
    """Lend a deployment on empty servers; its service runs."""
    with tempfile.TemporaryDirectory(prefix="program-executor-bench-") as folder:
        async with grounds.place() as (database, vhost):
            ours = Product(database, vhost, Path(folder), callback_allow=callbacks.ALLOWED)
            async with ours.serving():
                yield ours


async def submits(ours: Product, _grounds: Grounds, plan: Plan) -> Figures:
    """Submit on 32 connections, and post as much to a route that does nothing, in turn.

    Nobody works: the service's memory is seen with a few programs queued, and with all of them. But
    a worker was there before: its jobs are known.
    """
    with ours.working(1, "nothing") as (worker,):
        await worker.ready()
    calls = plan.programs // 2
    for path in (PATH, "/programs"):
        await post_rate(ours.url, path, BODY, calls=WARM_UP)
    few_mib = rss_mib(ours.service_pid)
    rates: dict[str, list[float]] = {PATH: [], "/programs": []}
    for path in (PATH, "/programs", "/programs", PATH):
        rates[path].append(await post_rate(ours.url, path, BODY, calls=calls))
    return {
        "submit_per_s": sum(rates["/programs"]) / 2,
        "empty_per_s": sum(rates[PATH]) / 2,
        "service_few_mib": few_mib,
        "service_many_mib": rss_mib(ours.service_pid),
    }


async def drains(ours: Product, grounds: Grounds, plan: Plan) -> Figures:
    """Drain with one worker, then with two."""
    one = await drain(ours, grounds, plan)
    two = await drain(ours, grounds, plan, workers=2)
    return one | {f"two_{name}": value for name, value in two.items()}


async def drain(ours: Product, grounds: Grounds, plan: Plan, *, workers: int = 1) -> Figures:
    """Queue programs, start the workers, and wait until nothing is left."""
    after = await newest(ours.database_url)
    batch_per_s = await ours.submit(plan.programs)
    ours.journal.unlink(missing_ok=True)
    pids = await grounds.pids()
    with ours.working(workers, "nothing") as working:
        figures = await drained(
            Table(ours.database_url, after=after),
            plan.programs,
            journal=ours.journal,
            workers=[each.process.pid for each in working],
            servers=pids | {"service": ours.service_pid},
        )
    return figures | {"batch_per_s": batch_per_s}


async def latency(ours: Product, _grounds: Grounds, plan: Plan) -> Figures:
    """Submit one program after the other on an idle system, and wait for the end of each."""
    times = []
    with ours.working(1, "nothing") as (worker,):
        await worker.ready()
        connection = await Connection.open(ours.url)
        for _ in range(WARM_UP + plan.requests):
            began = time.perf_counter()
            run_id = orjson.loads(await connection.post("/programs", BODY))["run_id"]
            ended = await connection.get(f"/programs/{run_id}", WAIT)
            times.append(time.perf_counter() - began)
            assert orjson.loads(ended)["status"] == "finished"
        await connection.close()
    return percentiles_ms(times[WARM_UP:])


async def callback_drain(ours: Product, _grounds: Grounds, plan: Plan) -> Figures:
    """Drain programs of three calls to an endpoint that answers at once."""
    programs = plan.programs // 4
    async with callbacks.endpoint() as url:
        plain = await callbacks.plain_rate(url, programs * len(CALLBACK_JOBS))
        await register_callbacks(ours, url)
        await ours.submit(programs, {"jobs": CALLBACK_JOBS})
        with ours.working(1) as (worker,):
            await worker.ready()
            figures = await drained(Table(ours.database_url), programs)
    return {"callbacks_per_s": figures["drain_per_s"], "plain_calls_per_s": plain}


async def register_callbacks(ours: Product, url: str) -> None:
    """Have all callback jobs done by one endpoint."""
    connection = await Connection.open(ours.url)
    for job in CALLBACK_JOBS:
        await connection.put(f"/jobs/{job}", orjson.dumps({"url": url}))
    await connection.close()


async def history_drain(ours: Product, grounds: Grounds, plan: Plan) -> Figures:
    """Drain once more, in a table where many programs have finished long ago."""
    if not plan.finished_rows:
        return {}
    await history.fill(ours.database_url, plan.finished_rows)
    figures = await drain(ours, grounds, plan)
    return {"history_drain_per_s": figures["drain_per_s"]}
