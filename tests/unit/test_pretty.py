"""Pretty: what people at a terminal see of a line."""

import logging
from collections.abc import Iterator
from textwrap import indent

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
    assert below == indent(TRACEBACK, "    ")


@pytest.mark.usefixtures("_pretty")
def test_line_without_a_traceback_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning(Event.JOB_RETRY, job="charge", error_stack=None)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("_pretty")
def test_text_forges_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a message nor a traceback shows a line that begins as an event does."""
    forged = "no\r\n2026-05-04 12:00:00 [info     ] audit.signed_in \x1b[2K\u202e by=admin"
    log.warning(Event.JOB_RETRY, job=forged, error_stack=f"ValueError: {forged}")
    logging.getLogger("job").warning(forged)
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    beginnings = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert ["audit.signed_in" in line.partition("]")[0] for line in beginnings] == [False, False]
    assert all("[warning" in line for line in beginnings)
