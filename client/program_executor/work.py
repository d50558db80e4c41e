"""Work: a worker as a process of its own, over RabbitMQ."""

import asyncio
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

from program_executor.processes import (
    collect_seldom,
    connect_broker,
    connect_database,
    listen,
    load_library,
    server,
    stop_on_signals,
)
from program_service.redaction import Redaction
from program_service.settings import Settings
from program_service.telemetry import Metrics, configure_logging
from program_workers.pages import pages
from program_workers.worker import Stopped, Worker

LEAVE_WITHIN_S = 8.0
"""For taking leave of servers that may not answer any more, once all programs are dealt with."""


async def run_work(settings: Settings, *, is_child: bool = False) -> int:
    """Work until SIGTERM or Ctrl-C; return the exit code, a `Stopped`.

    A first signal drains: running jobs may end for the grace time. A second one releases at once.
    The end of its parent drains a child of a fleet, too.

    Without modules it calls the registered endpoints only.

    Raises:
        UsageError: a setting is missing, or the port is taken.
        LibraryError: the jobs cannot be used.
    """
    configure_logging(
        level=settings.log_level,
        is_json=settings.log_format == "json",
        has_trace_ids=settings.traces,
        redaction=Redaction(settings.redact),
    )
    library = load_library(settings)
    metrics = Metrics()
    broker, database = connect_broker(settings, metrics), connect_database(settings)
    worker = Worker(settings, database, broker, library=library, metrics=metrics)
    probes = server(pages(worker.is_ready.is_set, worker.supervisor, metrics), keep_lifespan=False)
    collect_seldom()
    listener = listen(settings.worker_host, settings.worker_port)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            worker.hurry()
        stopping.set()

    def leave_soon(drained: asyncio.Future[Stopped]) -> None:
        if not drained.cancelled():
            asyncio.get_running_loop().call_later(LEAVE_WITHIN_S, leave, drained.result())

    worker.drained.add_done_callback(leave_soon)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(probes.serve([listener]))
            with stop_on_signals(stop), stop_with_parent(stop, is_child=is_child):
                stopped = await worker.run(stopping)
            probes.should_exit = True
    finally:
        await broker.close()
        await database.close()
    if stopped is Stopped.ABANDONED:
        leave(stopped)  # threads that do not end would keep the process alive
    return stopped


@contextmanager
def stop_with_parent(stop: Callable[[], object], *, is_child: bool) -> Generator[None]:
    """Call `stop` when the parent of a child has ended: nobody else holds the pipe's other end."""
    if not is_child:
        yield
        return
    loop, pipe = asyncio.get_running_loop(), sys.stdin.fileno()

    def has_ended() -> None:
        loop.remove_reader(pipe)
        stop()

    loop.add_reader(pipe, has_ended)
    try:
        yield
    finally:
        loop.remove_reader(pipe)


def leave(stopped: Stopped) -> NoReturn:
    """End this process without waiting for anything or anybody."""
    sys.stderr.flush()
    os._exit(stopped)
