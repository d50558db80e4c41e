"""Interpreter: what is changed in the process is found, undone and said."""

import _thread
import gc
import io
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from lines import Lines, of_event
from program_executor import importing
from program_executor.interpreter import Interpreter, InterpreterWatch
from program_service.settings import Settings
from program_workers.errors import LibraryError

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
    (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1}),
        "signals were blocked: SIGTERM",
    ),
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
    gc.set_debug(gc.DEBUG_SAVEALL)
    threading.stack_size(65_536)
    of_pytest = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(3_600)
    with capture_logs() as lines:
        interpreter.restore_after_import()
    left_s = signal.alarm(0)
    signal.signal(signal.SIGALRM, of_pytest)
    assert gc.isenabled()
    assert (gc.get_debug(), left_s, threading.stack_size()) == (0, 0, 0)
    for opened in (sys.stdout, sys.stderr):
        print(end="", file=opened)
        opened.close()
    (line,) = of_event(cast("Lines", lines), "process.restored")
    assert line["changes"] == [
        "sys.stdout was closed",
        "sys.stderr was closed",
        "garbage collection was disabled",
        "garbage was kept for debugging",
        "an alarm was set, which would end the process",
        "the stacks of threads were made small",
    ]


def test_what_jobs_change_again_and_again_is_undone_and_logged_once(
    handler: logging.Handler,
) -> None:
    listened: list[str] = []
    watch = InterpreterWatch(lambda: listened.append("again"))
    with capture_logs() as lines:
        for _ in range(3):
            logging.getLogger().removeHandler(handler)
            watch.look()
            assert handler in logging.getLogger().handlers
    assert len(of_event(cast("Lines", lines), "process.restored")) == 1
    assert listened == ["again"] * 3


def test_module_that_replaces_the_threads_of_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As gevent does."""
    (tmp_path / "greenish.py").write_text(
        "import _thread\nbefore = _thread.start_new_thread\n"
        "_thread.start_new_thread = lambda *given: before(*given)\n"
        "from program_executor import job\n@job\ndef ship(ctx): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    # so that it is put back at the end
    monkeypatch.setattr(_thread, "start_new_thread", _thread.start_new_thread)
    with pytest.raises(LibraryError, match="replaces Python's threads"):
        importing.load_library(Settings(jobs=["greenish"]))


def test_import_that_takes_long_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SLOW_IMPORT_S", 0.01)
    with capture_logs() as lines, importing.noticing_slow_imports():
        while not of_event(cast("Lines", lines), "jobs.import_slow"):
            time.sleep(0.01)
    (line,) = of_event(cast("Lines", lines), "jobs.import_slow")
    assert "test_interpreter.py" in line["at"]
