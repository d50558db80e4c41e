"""What the tests of traces share: spans that are kept in memory, and a service that makes them."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from calling import ALLOW, NOTIFY_SECRET
from program_service.bookkeeping.database import Database
from program_service.logs import log
from program_service.telemetry import configure_logging
from serving import Json, Service, serving
from told import Told


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Set the tracer provider of this process, which can be done once."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def told(exporter: InMemorySpanExporter) -> Iterator[Told]:
    """Return what is told from now on."""
    exporter.clear()
    yield Told(exporter)
    exporter.clear()


@pytest.fixture
async def service(told: Told, database: Database) -> AsyncIterator[Service]:
    """Serve without keys and with traces; no worker runs."""
    del told
    async with serving(
        database, callback_allow=ALLOW, notify_secret=NOTIFY_SECRET, traces=True
    ) as served:
        yield served


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[Json]]]:
    """Log as a process with traces does, and return the lines that were printed."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    configure_logging(level="INFO", is_json=True, has_trace_ids=True)
    structlog.configure(**structlog.get_config() | {"cache_logger_on_first_use": False})
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    log.reset()
