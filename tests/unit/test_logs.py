"""Logs: our events are written whatever a job module does to the logging of its process."""

import contextlib
import io
import json
import logging
import logging.config
import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import structlog
from structlog.testing import capture_logs

from lines import Lines, logging_as_workers_do, of_event
from program_executor.interpreter import Interpreter
from program_service import logs
from program_service.events import Event
from program_service.logs import Outlet, StandardError, log

SILENT = {"version": 1, "root": {"level": "CRITICAL", "handlers": []}}


@pytest.fixture
def _as_workers_log() -> Iterator[None]:
    interpreter = Interpreter()
    with logging_as_workers_do(level="INFO"):
        yield
    interpreter.restore()


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
    assert (capfd.readouterr().err, elsewhere.getvalue()) == ("one\ntwo\n", "")


@pytest.mark.usefixtures("_as_workers_log")
def test_event_that_nobody_can_read_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        log.info(Event.SERVICE_STARTED, version="1")


def read_all(pipe: int) -> bytes:
    """Read what there is in a pipe, until nothing more comes for a moment."""
    text = b""
    while select.select([pipe], [], [], 0.5)[0]:
        text += os.read(pipe, 65_536)
    return text


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the two ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.mark.parametrize("can_be_opened_again", [True, False])
def test_writer_does_not_wait_for_a_reader_that_stands_still(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, can_be_opened_again: bool
) -> None:
    if not can_be_opened_again:  # the pipe is another user's
        monkeypatch.setattr(logs, "_opened_again", os.dup)
    outlet = Outlet(pipe[1])
    lines = [f"{number:06} {'x' * 5_000}\n".encode() for number in range(200)]
    for line in lines:
        outlet.write(line)
    assert not outlet.is_idle.is_set()
    assert read_all(pipe[0]) == b"".join(lines)
    assert outlet.is_idle.wait(30)
    outlet.write(b"directly\n")
    assert read_all(pipe[0]) == b"directly\n"


def test_lines_for_which_there_is_no_room_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 10_000)
    outlet = Outlet(pipe[1])
    with capture_logs() as said:
        for _ in range(100):
            outlet.write(b"x" * 4_095 + b"\n")
        read_all(pipe[0])
        assert outlet.is_idle.wait(30)
    (line,) = of_event(cast("Lines", said), "log.lines_lost")
    assert 70 < line["lines"] < 100


def test_reader_that_is_gone_is_nobody_s_trouble(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    os.close(pipe[0])
    for _ in range(100):
        outlet.write(b"x" * 4_096)
    assert outlet.is_idle.is_set()


def test_file_is_written_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    with file.open("a") as opened:
        Outlet(opened.fileno()).write(b"after\n")
    assert file.read_text() == "before\nafter\n"
