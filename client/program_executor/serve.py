"""Serve: the API as a process of its own, over RabbitMQ."""

from program_executor.processes import (
    collect_seldom,
    connect_broker,
    connect_database,
    listen,
    require_keys,
    server,
    stop_on_signals,
)
from program_service.app import create_app
from program_service.redaction import Redaction
from program_service.settings import Settings
from program_service.telemetry import Metrics, configure_logging


async def run_serve(settings: Settings) -> int:
    """Serve the API until SIGTERM or Ctrl-C; return the exit code.

    Raises:
        UsageError: a setting is missing, the port is taken, or the address needs keys.
    """
    require_keys(settings)
    configure_logging(
        level=settings.log_level,
        is_json=settings.log_format == "json",
        has_trace_ids=settings.traces,
        redaction=Redaction(settings.redact),
    )
    metrics = Metrics()
    broker = connect_broker(settings, metrics)
    listener = listen(settings.host, settings.port)
    database = connect_database(settings)
    app = create_app(settings, database=database, broker=broker, metrics=metrics)
    api = server(app)
    collect_seldom()

    def stop() -> None:
        app.state.services.waiting.close()
        api.should_exit = True

    try:
        with stop_on_signals(stop):
            await api.serve([listener])
    finally:
        await broker.close()
        await database.close()
    return 0 if api.started else 1
