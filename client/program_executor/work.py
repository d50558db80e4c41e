"""Work: a worker as a process of its own, over RabbitMQ."""

import asyncio
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from program_executor.bounded import Bounds
from program_executor.contact import Contact
from program_executor.ending import Ending, leave, leave_within
from program_executor.importing import load_library
from program_executor.interpreter import InterpreterWatch
from program_executor.processes import (
    collect_seldom,
    connect_broker,
    connect_database,
    listen,
    located,
    run,
    set_up_logs,
    stop_on_signals,
)
from program_executor.web import server
from program_service.cancellation import TaskGroup
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_workers.library import JobLibrary
from program_workers.pages import pages
from program_workers.worker import Stopped, Worker

LEAVE_WITHIN_S = 8.0
"""For taking leave of servers that may not answer any more, once all programs are dealt with."""


def run_work(settings: Settings, ending: Ending, *, is_child: bool = False) -> None:
    """Work until SIGTERM or Ctrl-C; `ending` gets the exit code, a `Stopped`.

    A first signal drains: running jobs may end for the grace time. A second one releases at once.
    The end of its parent drains a child of a fleet, too.

    Without modules it calls the registered endpoints only.

    Raises:
        UsageError: a setting is missing, the port is taken, or a server does not admit us.
        LibraryError: the jobs cannot be used.
    """
    set_up_logs(settings)
    # before the import: a module may change the folder, or close standard input
    settings = located(settings)
    parent = os.dup(sys.stdin.fileno()) if is_child else None
    library = load_library(settings)
    stopped = run(_work(settings, library, ending, parent=parent))
    if stopped is Stopped.ABANDONED:
        leave(ending)  # threads that do not end would keep the process alive


async def _work(
    settings: Settings, library: JobLibrary, ending: Ending, *, parent: int | None
) -> Stopped:
    metrics = Metrics()
    broker, database = connect_broker(settings, metrics), connect_database(settings)
    worker = Worker(settings, database, broker, library=library, metrics=metrics)
    app, bounds = pages(worker.is_ready.is_set, worker.supervisor, metrics), Bounds.of(settings)
    probes = server(app, bounds=bounds, metrics=metrics, keep_lifespan=False)
    collect_seldom()
    listener = listen(settings.worker_host, settings.worker_port)
    stopping, contact = asyncio.Event(), Contact(database, broker)

    def stop() -> None:
        if stopping.is_set():
            worker.hurry()
        stopping.set()

    def leave_soon(drained: asyncio.Future[Stopped]) -> None:
        if not drained.cancelled():
            ending.code = drained.result()
            leave_within(ending, LEAVE_WITHIN_S)

    worker.drained.add_done_callback(leave_soon)
    with stop_on_signals(stop, ending) as listen_again, stop_with_parent(stop, parent, ending):
        try:
            await contact.begin()
            watching = worker.supervisor.running(InterpreterWatch(listen_again))
            async with watching, contact.kept_up(stop), TaskGroup() as tasks:
                tasks.create_task(probes.serve([listener]))
                stopped = await worker.run(stopping)
                probes.should_exit = True
        finally:
            await broker.close()
            await database.close()
    return stopped


@contextmanager
def stop_with_parent(
    stop: Callable[[], object], pipe: int | None, ending: Ending
) -> Generator[None]:
    """Call `stop` when the parent of a child has ended: nobody else holds the pipe's other end."""
    if pipe is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def has_ended() -> None:
        loop.remove_reader(pipe)
        ending.decide("its parent process ended")
        stop()

    loop.add_reader(pipe, has_ended)
    try:
        yield
    finally:
        loop.remove_reader(pipe)
