"""Importing: take jobs from modules that were written as if the process were their own."""

import _thread
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from program_executor.interpreter import Interpreter
from program_service.logs import log
from program_service.settings import Settings
from program_service.telemetry import Event
from program_workers.errors import LibraryError
from program_workers.library import JobLibrary
from program_workers.watch import place_of

SLOW_IMPORT_S = 10.0


def load_library(settings: Settings) -> JobLibrary:
    """Import the jobs that the settings name, also from the folder that the command was called in.

    It must not be called in an event loop: a module may run one while it is imported.

    Raises:
        LibraryError: the jobs cannot be used.
    """
    if not {"", str(Path.cwd())} & set(sys.path):
        # not "": a module may change the folder
        sys.path.insert(0, str(Path.cwd()))
    interpreter, start_thread = Interpreter(), _thread.start_new_thread
    with noticing_slow_imports():
        library = JobLibrary.of_modules(settings.jobs)
    if _thread.start_new_thread is not start_thread:
        msg = (
            "a job module replaces Python's threads, as gevent.monkey.patch_all() does: a worker"
            " cannot run with these; make the job a subprocess, or an endpoint"
        )
        raise LibraryError(msg)
    interpreter.restore_after_import()
    return library


@contextmanager
def noticing_slow_imports() -> Generator[None]:
    """Log where the main thread is if it still imports jobs after some seconds."""
    importing = threading.get_ident()

    def tell() -> None:
        frame = sys._current_frames().get(importing)  # noqa: SLF001 - public, for debuggers
        at, line = place_of(frame)
        log.warning(Event.IMPORT_SLOW, seconds=SLOW_IMPORT_S, at=at, line=line)

    timer = threading.Timer(SLOW_IMPORT_S, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
