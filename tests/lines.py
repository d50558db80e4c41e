"""Lines: what was logged, as tests look at it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from program_service.logs import STANDARD_ERROR, log
from program_service.redaction import Redaction
from program_service.telemetry import configure_logging

Lines = list[dict[str, Any]]


def of_event(lines: Lines, event: str) -> Lines:
    """Return the lines of one event."""
    return [line for line in lines if line["event"] == event]


@contextmanager
def logging_as_workers_do(
    *, level: str, redact: Sequence[str] = (), is_json: bool = True
) -> Iterator[None]:
    """Log to standard error meanwhile, as the service and the workers do."""
    root, kept = logging.getLogger(), STANDARD_ERROR._kept
    before, handlers = root.level, root.handlers[:]
    STANDARD_ERROR._kept = None  # another test may have kept what standard error was then
    configure_logging(level=level, is_json=is_json, redaction=Redaction(redact))
    structlog.configure(**structlog.get_config() | {"cache_logger_on_first_use": False})
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
        structlog.reset_defaults()
        log.reset()
        STANDARD_ERROR._kept = kept


async def logged(lines: Lines, event: str) -> Lines:
    """Return the lines of one event, to be waited for."""
    return of_event(lines, event)


@pytest.fixture
def logs() -> Iterator[Lines]:
    """Capture what is logged."""
    with capture_logs() as lines:
        yield cast("Lines", lines)
