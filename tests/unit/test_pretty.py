"""Pretty: what people at a terminal see of a line."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from program_service.events import Event
from program_service.logs import log
from program_service.telemetry import configure_logging

TRACEBACK = 'Traceback (most recent call last):\n  File "jobs.py", line 7\nValueError: no\n'


@pytest.fixture
def _pretty() -> Iterator[None]:
    """Log as `dev` does."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    configure_logging(level="INFO", is_json=False)
    structlog.configure(**structlog.get_config() | {"cache_logger_on_first_use": False})
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    log.reset()


@pytest.mark.usefixtures("_pretty")
def test_traceback_of_a_job_stands_below_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning(Event.JOB_RETRY, job="charge", error_stack=TRACEBACK)
    line, _, below = capsys.readouterr().err.partition("\n")
    assert "Consumer error retry" in line
    assert "charge" in line
    assert below == TRACEBACK


@pytest.mark.usefixtures("_pretty")
def test_line_without_a_traceback_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning(Event.JOB_RETRY, job="charge", error_stack=None)
    assert capsys.readouterr().err.count("\n") == 1
