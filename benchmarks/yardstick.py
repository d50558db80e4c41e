"""Yardstick: the speed that this design can reach on the machine at hand.

A bare skeleton of the hot path: set-based statements, group commit, wake-ups over a quorum queue
for 25 programs each, attempts recorded; and no validation, retries, renewal, metrics or logs. So
the product is compared with what the same work costs at least, in the same run.

    python benchmarks/yardstick.py submit 6000
    python benchmarks/yardstick.py work 6000

DATABASE_URL and AMQP_URL name the servers; the tables are made anew by `submit`.
"""

import asyncio
import json
import os
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import aio_pika
import sqlalchemy as sa
import uvloop
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from yardstick_tables import attempts, metadata, programs

T = TypeVar("T")
R = TypeVar("R")

QUEUE = "yardstick"
BUNDLE, BATCH, SLOTS = 25, 500, 500
LEASE = timedelta(seconds=30)
JOBS = ["a", "b", "c"]
RUN_ID_BYTES = 16


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def cpu_s() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class GroupCommit(Generic[T, R]):
    """While one batch is being flushed, what arrives meanwhile forms the next."""

    def __init__(self, flush: Callable[[list[T]], Awaitable[Sequence[R]]]) -> None:
        """Take what flushes a batch."""
        self._flush = flush
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._arrived = asyncio.Event()

    def add(self, item: T) -> "asyncio.Future[R]":
        """Return the answer to come."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        self._arrived.set()
        return answer

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._arrived.clear()
            results = await self._flush([item for item, _ in batch])
            for (_, answer), result in zip(batch, results, strict=True):
                answer.set_result(result)


async def submit(engine: AsyncEngine, connection: AbstractConnection, count: int) -> None:
    """Write programs in batches of 500, and publish their wake-ups."""
    async with engine.begin() as transaction:
        await transaction.run_sync(metadata.drop_all)
        await transaction.run_sync(metadata.create_all)
    channel = await connection.channel(publisher_confirms=True)
    await channel.queue_delete(QUEUE)
    await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    publish = channel.default_exchange.publish
    began = time.perf_counter()
    for first in range(0, count, BATCH):
        rows = [_row() for _ in range(min(BATCH, count - first))]
        async with engine.begin() as transaction:
            await transaction.execute(programs.insert(), rows)
        bundles = [rows[start : start + BUNDLE] for start in range(0, len(rows), BUNDLE)]
        bodies = [b"".join(row["run_id"].bytes for row in bundle) for bundle in bundles]
        messages = [aio_pika.Message(body, delivery_mode=2) for body in bodies]
        await asyncio.gather(*(publish(message, QUEUE) for message in messages))
    print(json.dumps({"submit_per_s": count / (time.perf_counter() - began)}))


def _row() -> dict[str, Any]:
    at, data = now(), {"global": "x" * 100}
    times = dict.fromkeys(("created_at", "updated_at", "due_at", "woken_at"), at)
    return {"run_id": uuid.uuid4(), "jobs": JOBS, "job_data": {}, "program_data": data, **times}


@dataclass(slots=True)
class Step:
    """A step that ran."""

    run_id: uuid.UUID
    step: int
    is_last: bool
    job: str
    started_at: datetime


class Ledger:
    """The statements of a worker."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the engine."""
        self._engine = engine
        self._me = f"yardstick-{os.getpid()}"

    async def claim(self, run_ids: list[uuid.UUID]) -> Sequence[Any]:
        """Claim what is due."""
        at, columns = now(), programs.c
        is_due = (columns.finished_at.is_(None), columns.errored_at.is_(None), columns.due_at <= at)
        wanted = (columns.run_id, columns.jobs, columns.step, columns.step_retry_count)
        claim = (
            programs.update()
            .where(columns.run_id.in_(run_ids), *is_due)
            .values(claimed_by=self._me, due_at=at + LEASE, woken_at=None)
            .returning(*wanted, columns.program_data, columns.job_data)
        )
        async with self._engine.begin() as transaction:
            claimed = {row.run_id: row for row in await transaction.execute(claim)}
        return [claimed.get(run_id) for run_id in run_ids]

    async def record(self, steps: list[Step]) -> Sequence[bool]:
        """Write what was done, a statement for each kind of change, and the attempts."""
        at = now()
        kinds: dict[tuple[int, bool], list[uuid.UUID]] = {}
        for each in steps:
            kinds.setdefault((each.step, each.is_last), []).append(each.run_id)
        async with self._engine.begin() as transaction:
            for (step, is_last), run_ids in kinds.items():
                await transaction.execute(self._change(step, run_ids, at, is_last=is_last))
            rows = [self._attempt(each, at) for each in steps]
            await transaction.execute(attempts.insert(), rows)
        return [True] * len(steps)

    def _change(
        self, step: int, run_ids: list[uuid.UUID], at: datetime, *, is_last: bool
    ) -> sa.Update:
        columns = programs.c
        change: dict[str, Any] = {"step_retry_count": 0, "updated_at": at}
        if is_last:
            change |= {"finished_at": at, "due_at": None, "claimed_by": None}
        else:
            change |= {"step": step + 1}
        is_mine = (columns.claimed_by == self._me, columns.step == step)
        found = (columns.run_id.in_(run_ids), *is_mine, columns.errored_at.is_(None))
        return programs.update().where(*found).values(**change)

    def _attempt(self, step: Step, at: datetime) -> dict[str, Any]:
        return {
            "run_id": step.run_id, "step": step.step, "attempt": 1, "job": step.job,
            "worker": self._me, "started_at": step.started_at, "finished_at": at, "outcome": "done",
        }  # fmt: skip


async def nothing(_program_data: dict[str, Any]) -> None:
    """Do nothing."""


class Worker:
    """Claim, run, record, until everything is done."""

    def __init__(self, ledger: Ledger, count: int) -> None:
        """Take the ledger, and after how many programs to end."""
        self._count = count
        self._claims, self._records = GroupCommit(ledger.claim), GroupCommit(ledger.record)
        self._finished, self._all_done = 0, asyncio.Event()
        self._cpu_s_before = 0.0

    async def work(self, queue: AbstractQueue) -> None:
        """Work until all programs are done."""
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(each.run()) for each in (self._claims, self._records)]

            async def arrive(message: AbstractIncomingMessage) -> None:
                tasks.create_task(self._take(message, tasks))

            await queue.consume(arrive)
            await self._all_done.wait()
            for loop in loops:
                loop.cancel()
        used = (cpu_s() - self._cpu_s_before) / (len(JOBS) * self._count / 1_000)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
        print(json.dumps({"cpu_s_per_1000_steps": used, "worker_peak_mib": peak_mib}))

    async def _take(self, message: AbstractIncomingMessage, tasks: asyncio.TaskGroup) -> None:
        body = message.body
        starts = range(0, len(body), RUN_ID_BYTES)
        run_ids = [uuid.UUID(bytes=body[start : start + RUN_ID_BYTES]) for start in starts]
        claimed = await asyncio.gather(*map(self._claims.add, run_ids))
        await message.ack()
        self._cpu_s_before = self._cpu_s_before or cpu_s()
        for program in filter(None, claimed):
            tasks.create_task(self._run(program))

    async def _run(self, program: Any) -> None:
        for number, name in enumerate(program.jobs):
            started_at = now()
            await nothing(program.program_data)
            is_last = number + 1 == len(program.jobs)
            await self._records.add(Step(program.run_id, number, is_last, name, started_at))
        self._finished += 1
        if self._finished == self._count:
            self._all_done.set()


async def work(engine: AsyncEngine, connection: AbstractConnection, count: int) -> None:
    """Work the queue off."""
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=SLOTS // BUNDLE)
    await Worker(Ledger(engine), count).work(await channel.get_queue(QUEUE))


async def main(command: Callable[..., Awaitable[None]], count: int) -> None:
    """Connect, and do it."""
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    connection = await aio_pika.connect(os.environ["AMQP_URL"])
    await command(engine, connection, count)
    await connection.close()
    await engine.dispose()


if __name__ == "__main__":
    uvloop.run(main({"submit": submit, "work": work}[sys.argv[1]], int(sys.argv[2])))
