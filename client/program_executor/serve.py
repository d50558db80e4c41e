"""Serve: the API as a process of its own, over RabbitMQ."""

from program_executor.bounded import Bounds
from program_executor.contact import Contact
from program_executor.ending import Ending, fail_within
from program_executor.processes import (
    collect_seldom,
    connect_broker,
    connect_database,
    listen,
    require_keys,
    run,
    set_up_logs,
    stop_on_signals,
)
from program_executor.web import server
from program_service.app import create_app, end_streams
from program_service.settings import Settings
from program_service.telemetry import Metrics

END_WITHIN_S = 30.0
"""Requests have 5 s, loops 10, and connections some more; nothing else is worth waiting for."""


def run_serve(settings: Settings, ending: Ending) -> None:
    """Serve the API until SIGTERM or Ctrl-C; `ending` gets the exit code.

    Raises:
        UsageError: a setting is missing, the port is taken, the address needs keys, or a server
            does not admit us.
    """
    set_up_logs(settings)
    require_keys(settings)
    run(_serve(settings, ending))


async def _serve(settings: Settings, ending: Ending) -> None:
    metrics = Metrics()
    broker = connect_broker(settings, metrics)
    listener = listen(settings.host, settings.port)
    database = connect_database(settings)
    contact = Contact(database, broker)
    app = create_app(settings, database=database, broker=broker, metrics=metrics)
    api = server(app, bounds=Bounds.of(settings), metrics=metrics)
    collect_seldom()

    def stop() -> None:
        if api.should_exit:  # told a second time: do not wait for requests
            api.force_exit = True
            return
        end_streams(app)
        api.should_exit = True
        fail_within(ending, END_WITHIN_S)

    with stop_on_signals(stop, ending):
        try:
            await contact.begin()
            async with contact.kept_up(stop):
                await api.serve([listener])
        finally:
            await broker.close()
            await database.close()
    if not api.started:
        ending.code = 1
        ending.log_failure("the API could not start")
