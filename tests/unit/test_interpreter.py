"""Interpreter: what is changed in the process is found, undone and said."""

import gc
import io
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from lines import Lines, of_event
from program_executor import importing
from program_executor.interpreter import Interpreter, InterpreterWatch

LOGGER = logging.getLogger("interpreter.test")


@pytest.fixture(autouse=True)
def handler() -> Iterator[logging.Handler]:
    """Log as a process does, and be as before afterwards whatever is not undone."""
    root, level = logging.getLogger(), logging.getLogger().level
    handler = logging.StreamHandler(io.StringIO())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def changed_handler() -> None:
    logging.getLogger().handlers[-1].setLevel(logging.CRITICAL)


CHANGES: list[tuple[Callable[[], Any], str]] = [
    (logging.getLogger().handlers.pop, "handler of the root logger was removed"),
    (changed_handler, "handler of the root logger was changed"),
    (lambda: logging.getLogger().setLevel("ERROR"), "level of the root logger was raised to ERROR"),
    (lambda: logging.disable(logging.WARNING), "logging was disabled up to WARNING"),
    (lambda: setattr(LOGGER, "disabled", True), "loggers were disabled: interpreter.test"),
    (lambda: warnings.simplefilter("error"), "warnings were turned into errors"),
    (lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN), "handler of SIGTERM was replaced"),
    (lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL), "handler of SIGPIPE was replaced"),
    (lambda: sys.setrecursionlimit(200), "recursion limit was lowered to 200"),
    (lambda: sys.setswitchinterval(0.5), "threads were made to switch every 0.5 s only"),
]


@pytest.mark.parametrize(("change", "text"), CHANGES)
def test_change_is_undone_and_said_once(change: Callable[[], Any], text: str) -> None:
    warnings.resetwarnings()  # pytest's own turn all of them into errors
    interpreter = Interpreter()
    assert interpreter.restore() == []
    change()
    (said,) = interpreter.restore()
    assert text in said
    assert interpreter.restore() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda: warnings.filterwarnings("error", module="shop"),
        lambda: warnings.simplefilter("ignore"),
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
        lambda: logging.getLogger().setLevel("DEBUG"),
        lambda: logging.getLogger().addHandler(logging.NullHandler()),
    ],
)
def test_what_does_no_harm_is_left(change: Callable[[], Any]) -> None:
    before, handlers = sys.getrecursionlimit(), logging.getLogger().handlers[:]
    interpreter = Interpreter()
    try:
        change()
        assert interpreter.restore() == []
    finally:
        sys.setrecursionlimit(before)
        logging.getLogger().handlers[:] = handlers


def test_modules_that_close_streams_and_disable_the_collector_are_made_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = io.StringIO()
    closed.close()
    interpreter = Interpreter()
    for name, stream in (("stdout", closed), ("stderr", None)):
        monkeypatch.setattr(sys, name, stream)
    gc.disable()
    with capture_logs() as lines:
        interpreter.restore_after_import()
    assert gc.isenabled()
    for opened in (sys.stdout, sys.stderr):
        print(end="", file=opened)
        opened.close()
    (line,) = of_event(cast("Lines", lines), "process.restored")
    assert line["changes"] == [
        "sys.stdout was closed",
        "sys.stderr was closed",
        "garbage collection was disabled",
    ]


def test_what_jobs_change_again_and_again_is_undone_and_logged_once(
    handler: logging.Handler,
) -> None:
    watch = InterpreterWatch()
    with capture_logs() as lines:
        for _ in range(3):
            logging.getLogger().removeHandler(handler)
            watch.look()
            assert handler in logging.getLogger().handlers
    assert len(of_event(cast("Lines", lines), "process.restored")) == 1


def test_import_that_takes_long_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SLOW_IMPORT_S", 0.01)
    with capture_logs() as lines, importing.noticing_slow_imports():
        while not of_event(cast("Lines", lines), "jobs.import_slow"):
            time.sleep(0.01)
    (line,) = of_event(cast("Lines", lines), "jobs.import_slow")
    assert "test_interpreter.py" in line["at"]
