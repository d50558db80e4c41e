"""Peer: what the peers' programs have in common; each runs in an environment of its own.

    python celery_chain.py prepare | submit 1000 | work | latency 100

Each submits, works and times "a program of three jobs that do nothing, in order, with durable
progress" in one peer. What was measured is printed as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

DATABASE_URL = os.environ.get("DATABASE_URL", "")
AMQP_URL = os.environ.get("AMQP_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")

CLIENTS = 32
WARM_UP = 10

_journal = os.open(os.environ["BENCH_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(step: str) -> None:
    """Write one letter for a step: the benchmark counts them, and nothing is lost by a crash."""
    os.write(_journal, step.encode())


def submit_by_threads(submit: Callable[[], object], programs: int) -> None:
    """Submit from 32 threads."""
    submit()
    with ThreadPoolExecutor(CLIENTS) as threads:
        began = time.perf_counter()
        list(threads.map(lambda _: submit(), range(programs - 1)))
    _tell_rate(programs - 1, began)


async def submit_by_tasks(submit: Callable[[], Awaitable[object]], programs: int) -> None:
    """Submit from 32 tasks."""
    await submit()
    left = iter(range(programs - 1))

    async def submit_some() -> None:
        for _ in left:
            await submit()

    began = time.perf_counter()
    await asyncio.gather(*(submit_some() for _ in range(CLIENTS)))
    _tell_rate(programs - 1, began)


def _tell_rate(programs: int, began: float) -> None:
    print(json.dumps({"submit_per_s": programs / (time.perf_counter() - began)}))


def time_each(run: Callable[[], object], programs: int) -> None:
    """Run one program after the other to its end."""
    seconds = []
    for _ in range(WARM_UP + programs):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds[WARM_UP:]}))


async def time_each_task(run: Callable[[], Awaitable[object]], programs: int) -> None:
    """Run one program after the other to its end."""
    seconds = []
    for _ in range(WARM_UP + programs):
        began = time.perf_counter()
        await run()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds[WARM_UP:]}))


def main(**commands: Callable[[int], object]) -> None:
    """Do what the command line says; not every peer has something to prepare."""
    name, *number = sys.argv[1:]
    if name in commands:
        commands[name](int(number[0]) if number else 0)
