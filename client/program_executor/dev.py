"""Dev: everything in one process, on a SQLite file and without a broker; to try and to develop."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from program_executor.bounded import Bounds
from program_executor.commands.printing import echo
from program_executor.demo.show import show_demo
from program_executor.ending import Ending, leave_within
from program_executor.errors import ExitCode
from program_executor.importing import load_library
from program_executor.interpreter import InterpreterWatch
from program_executor.processes import (
    address,
    connect_database,
    listen,
    located,
    require_keys,
    run,
    set_up_logs,
    stop_on_signals,
)
from program_executor.web import server
from program_service.app import create_app, end_streams
from program_service.bookkeeping.migrations import migrate
from program_service.cancellation import TaskGroup
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.wakeups.memory import MemoryBroker
from program_workers.library import JobLibrary
from program_workers.worker import Worker

LEASE_S = 5.0
"""Short, so that after a kill -9 programs go on soon; one process renews without trouble."""

LEAVE_WITHIN_S = 8.0
"""A thread of a job that does not end would keep the process."""

JOBS = ("program_executor.demo.jobs",)
"""Jobs that are always there, besides those of the settings."""

PLACES = {
    "Dashboard": "/",
    "API": "/programs",
    "OpenAPI": "/openapi.json",
    "Metrics": "/metrics",
}


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line says."""

    data: Path
    is_demo: bool = False
    exits: bool = False


def dev_settings(given: Settings, options: DevOptions) -> Settings:
    """Fill in what was not set with what suits one process on one machine."""
    defaults = {
        "database_url": SecretStr(f"sqlite:///{options.data / 'programs.db'}"),
        "lease_s": LEASE_S,
        "wake_again_s": LEASE_S,
        "grace_s": 5.0,
        # always the same: a new process takes the place of one that was killed
        "worker_name": "dev",
        "log_format": "pretty",
        "log_level": "ERROR" if options.is_demo else "INFO",
    }
    fresh = {name: value for name, value in defaults.items() if name not in given.model_fields_set}
    return given.model_copy(update=fresh | {"jobs": [*JOBS, *given.jobs]})


def run_dev(given: Settings, options: DevOptions, ending: Ending) -> None:
    """Serve until Ctrl-C, or until the demo is over; `ending` gets the exit code.

    Raises:
        UsageError: the port is taken, or the address needs keys.
        LibraryError: the jobs cannot be used.
    """
    options = replace(options, data=options.data.absolute())
    settings = located(dev_settings(given, options))
    set_up_logs(settings)
    require_keys(settings)
    library = load_library(settings)
    _keep_private(options.data)
    run(_serve(settings, options, library, ending))


def _keep_private(folder: Path) -> None:
    """Make the folder for its owner alone, and close the files that an earlier release has made.

    The data and the secrets of endpoints are in them. A folder that is there may be of others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("programs.db*"):
        file.chmod(0o600)


async def _serve(
    settings: Settings, options: DevOptions, library: JobLibrary, ending: Ending
) -> None:
    listener = listen(settings.host, settings.port)
    if not settings.service_url:  # the port may be one that was free just now
        settings = settings.model_copy(update={"service_url": address(listener)})
    database = connect_database(settings)
    broker, metrics = MemoryBroker(), Metrics()
    app = create_app(settings, database=database, broker=broker, metrics=metrics)
    worker = Worker(settings, database, broker, library=library, metrics=metrics)
    api = server(app, bounds=Bounds.of(settings), metrics=metrics)
    stopping = asyncio.Event()
    try:
        await migrate(database)
        async with TaskGroup() as tasks:
            tasks.create_task(api.serve([listener]))
            working = tasks.create_task(worker.run(stopping))
            await worker.is_ready.wait()
            attending = tasks.create_task(_attend(address(listener), options))
            with stop_on_signals(attending.cancel, ending) as listen_again:
                async with worker.supervisor.running(InterpreterWatch(listen_again)):
                    await asyncio.wait([attending])
            stopping.set()
            await working
            leave_within(ending, LEAVE_WITHIN_S)
            end_streams(app)
            api.should_exit = True
    finally:
        await database.close()
    interrupted = ExitCode.INTERRUPTED if options.exits else ExitCode.DONE
    ending.decide("the demo is over")
    ending.code = interrupted if attending.cancelled() else attending.result()


async def _attend(url: str, options: DevOptions) -> int:
    """Say where we are, show the demo, and go on until told to stop."""
    for what, path in PLACES.items():
        echo(f"{what:<10} {url}{path}")
    code = await show_demo(url, options.data) if options.is_demo else 0
    if options.exits:
        return code
    echo("Serving until Ctrl-C.")
    await asyncio.Event().wait()
    return code
