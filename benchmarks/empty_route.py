"""Empty route: our service, with one more route that does nothing, to compare ours with."""

import asyncio

from program_executor.processes import (
    connect_broker,
    connect_database,
    listen,
    run,
    stop_on_signals,
)
from program_executor.web import server
from program_service.app import create_app
from program_service.settings import Settings
from program_service.telemetry import Metrics, configure_logging

PATH = "/empty"


async def nothing() -> dict[str, str]:
    """Do nothing."""
    return {}


async def serve(settings: Settings) -> None:
    """Serve like `program-executor serve`, until SIGTERM."""
    configure_logging(level=settings.log_level, is_json=True)
    metrics, database = Metrics(), connect_database(settings)
    broker = connect_broker(settings, metrics)
    app = create_app(settings, database=database, broker=broker, metrics=metrics)
    app.add_api_route(PATH, nothing, methods=["POST"], status_code=201)
    api, stopping = server(app), asyncio.Event()
    with stop_on_signals(stopping.set):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(api.serve([listen(settings.host, settings.port)]))
            await stopping.wait()
            api.should_exit = True
    await broker.close()
    await database.close()


if __name__ == "__main__":
    run(serve(Settings()))
