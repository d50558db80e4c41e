"""Traced: which requests have spans, and of what.

FastAPI makes a span of each request by itself. It shall make none of probes and of pages that
people look at, and none of callbacks: their paths hold tokens, and they belong to the traces of
their programs, whatever their senders know of those.
"""

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.telemetry import TelemetryConfig

from program_service.api.problems import status_of
from program_service.api.services import Services
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.reading import find
from program_service.telemetry import Fact
from program_service.tracing.spans import HEADER, Kind, Traces

NO_SPANS = ("/livez", "/readyz", "/metrics", "/callbacks/")
PAGES = "/ui/"


def telemetry(traces: Traces) -> TelemetryConfig:
    """Say what FastAPI shall tell OpenTelemetry: of requests, and nothing else."""

    def is_excluded(scope: MutableMapping[str, Any]) -> bool:
        path, is_read = scope["path"], scope.get("method") == "GET"
        return path.startswith(NO_SPANS) or (is_read and path.startswith(PAGES))

    return {
        "tracing": traces.is_on,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
        "exclude": is_excluded,
    }


@asynccontextmanager
async def in_its_trace(
    services: Services, request: Request, ticket: Ticket
) -> AsyncGenerator[None]:
    """Answer a callback within the trace of its program, if traces are on."""
    if not services.traces.is_on:
        yield
        return
    route = request.scope["route"].path
    facts = {
        "http.request.method": request.method,
        "http.route": route,
        Fact.RUN_ID: ticket.run_id,
        Fact.STEP: ticket.step,
        Fact.ATTEMPT: ticket.attempt,
    }
    name, of = f"{request.method} {route}", await _traceparent(services, ticket)
    caller = request.headers.get(HEADER)
    with services.traces.span(Kind.SERVER, name, facts, of=of, caller=caller) as span:
        try:
            yield
        except Exception as error:
            status = status_of(error)
            span.note({"http.response.status_code": status})
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.fail(type(error).__name__, str(error))
            raise
        span.note({"http.response.status_code": HTTPStatus.OK})


async def _traceparent(services: Services, ticket: Ticket) -> str | None:
    try:
        return (await services.database.read(find, ticket.run_id)).traceparent
    except ProgramNotFound:  # it was purged; the ledger refuses the callback
        return None
