"""Logs: our events are written whatever a job module does to the logging of its process."""

import contextlib
import io
import json
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from lines import logging_as_workers_do
from program_service.events import Event
from program_service.logs import StandardError, log

SILENT = {"version": 1, "root": {"level": "CRITICAL", "handlers": []}}


@pytest.fixture
def _as_workers_log() -> Iterator[None]:
    with logging_as_workers_do(level="INFO"):
        yield


def configure_structlog() -> None:
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )


@pytest.mark.usefixtures("_as_workers_log")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: logging.config.dictConfig(SILENT), id="dictConfig"),
        pytest.param(lambda: logging.basicConfig(force=True, stream=io.StringIO()), id="force"),
        pytest.param(logging.getLogger().handlers.clear, id="no handlers"),
        pytest.param(lambda: logging.getLogger().setLevel("CRITICAL"), id="level"),
        pytest.param(logging.disable, id="disable"),
        pytest.param(logging.shutdown, id="shutdown"),
        pytest.param(configure_structlog, id="structlog"),
    ],
)
def test_event_is_written_after_a_module_changed_the_logging(
    change: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    log.info(Event.SERVICE_STARTED, version="before")
    try:
        change()
        log.info(Event.SERVICE_STARTED, version="after")
    finally:
        logging.disable(logging.NOTSET)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["version"] for line in lines] == ["before", "after"]
    assert {line["event"] for line in lines} == {"service.started"}


@pytest.mark.usefixtures("_as_workers_log")
def test_event_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.debug(Event.JOB_DONE, run_id="1")
    assert not capsys.readouterr().err


def test_event_is_written_where_standard_error_was_when_it_was_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = StandardError()
    kept.keep()
    with contextlib.redirect_stderr(io.StringIO()) as elsewhere:
        kept.write("one")
        monkeypatch.setattr(sys, "stderr", None)
        kept.write("two")
    kept.stream.close()
    assert (capfd.readouterr().err, elsewhere.getvalue()) == ("one\ntwo\n", "")


@pytest.mark.usefixtures("_as_workers_log")
def test_event_that_nobody_can_read_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        log.info(Event.SERVICE_STARTED, version="1")
