"""Ending: one line in the log for each process that ends, whatever ended it.

The same holds for exceptions that nobody waits for, of threads, callbacks and destructors: each is
one line, where Python would print a traceback.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from program_executor.errors import CommandError, ExitCode
from program_service.logs import STANDARD_ERROR, log
from program_service.plain import described
from program_service.settings import PREFIX, LogFormat, LogLevel
from program_service.telemetry import Event, configure_logging

BY_SIGNAL = 128
"""Shells add it to the number of the signal that ended a process."""


class Ending:
    """Why this process ends; logged once."""

    def __init__(self, command: str) -> None:
        """Begin with no reason but that the command has done its work."""
        self._command = command
        self._reason = "its work is done"
        self._is_decided = False
        self._is_logged = False
        self.code = int(ExitCode.DONE)

    def decide(self, reason: str) -> None:
        """Note why the process ends; the first reason counts."""
        if not self._is_decided:
            self._reason, self._is_decided = reason, True

    def log_end(self) -> None:
        """Log that the process ends as it should."""
        if not self._is_logged:
            self._is_logged = True
            log.info(
                Event.PROCESS_ENDED,
                command=self._command,
                reason=self._reason,
                exit_code=self.code,
            )
            STANDARD_ERROR.flush()

    def log_failure(self, reason: str, error: BaseException | None = None) -> None:
        """Log that the process fails, with the traceback of what nobody expected."""
        if not self._is_logged:
            self._is_logged = True
            log.error(
                Event.PROCESS_FAILED,
                command=self._command,
                reason=reason,
                exit_code=self.code,
                exc_info=error,
            )
            STANDARD_ERROR.flush()


@contextmanager
def logged_end(command: str, *, usual_format: LogFormat = LogFormat.JSON) -> Generator[Ending]:
    """Log why this process ends; what is raised within becomes its exit code.

    What the user can repair is left to the command line, if people read it: it says it in words.
    """
    ending = Ending(command)
    # until the settings are read, which may fail
    chosen = os.environ.get(f"{PREFIX}LOG_FORMAT", usual_format)
    configure_logging(level=LogLevel.INFO, is_json=chosen != LogFormat.PRETTY)
    try:
        with _on_early_signals(ending):
            yield ending
    except SystemExit as error:
        ending.code = error.code if isinstance(error.code, int) else 1
        ending.log_failure(f"sys.exit({error.code!r})", error)
        raise
    except KeyboardInterrupt:
        ending.code = int(ExitCode.INTERRUPTED)
        ending.decide("SIGINT")
        ending.log_end()
        sys.exit(ending.code)
    except BaseException as error:
        # also a cancellation, by a job that cancels all tasks
        failure = _explained(_leaf(error))
        if failure is not None and (_is_terminal() or not log.is_for_machines):
            raise
        ending.code = int(failure.code) if failure is not None else 1
        ending.log_failure(*([str(failure)] if failure else (described(_leaf(error)), error)))
        sys.exit(ending.code)
    ending.log_end()


@contextmanager
def _on_early_signals(ending: Ending) -> Generator[None]:
    """Log a SIGTERM that comes before or after the event loop waits for it, and end by it."""

    def end(number: int, _frame: FrameType | None) -> None:
        ending.code = BY_SIGNAL + number
        ending.decide(signal.Signals(number).name)
        ending.log_end()
        if os.getpid() == 1:  # to whom the kernel passes no signal that it does not wait for
            os._exit(ending.code)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def log_uncaught() -> None:
    """Log exceptions that nobody waits for, and warnings, each in one line."""
    logging.captureWarnings(capture=True)

    def of_main(_kind: type[BaseException], error: BaseException, _traceback: Any) -> None:
        _log_uncaught("the main thread", error)

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        name = arguments.thread.name if arguments.thread is not None else "?"
        _log_uncaught(f"thread {name}", arguments.exc_value)

    def of_destructor(arguments: "sys.UnraisableHookArgs") -> None:
        _log_uncaught(arguments.err_msg or "a destructor or callback", arguments.exc_value)

    sys.excepthook = of_main
    threading.excepthook = of_thread
    sys.unraisablehook = of_destructor


def log_uncaught_of(loop: asyncio.AbstractEventLoop) -> None:
    """Log exceptions of an event loop's callbacks, and of tasks that nobody awaits."""

    def of_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _log_uncaught(f"the event loop: {context['message']}", context.get("exception"))

    loop.set_exception_handler(of_loop)


def _log_uncaught(where: str, error: BaseException | None) -> None:
    if isinstance(error, SystemExit):  # as threading does
        return
    text = described(error) if error is not None else ""
    log.error(Event.UNCAUGHT, where=where, error_message=text, exc_info=error)


def leave(ending: Ending) -> None:
    """End this process now, without waiting for anything or anybody."""
    ending.log_end()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(ending.code)


def leave_within(ending: Ending, seconds: float) -> None:
    """End this process at the latest in so many seconds.

    The event loop may have ended by then: Python waits without end for a thread that a job module
    started, if it is no daemon.
    """
    _start_timer(seconds, lambda: leave(ending))


def fail_within(ending: Ending, seconds: float) -> None:
    """End this process as failed if it has not ended in so many seconds."""

    def fail() -> None:
        ending.code = 1
        ending.log_failure(f"it did not end within {seconds:.0f} s")
        leave(ending)

    _start_timer(seconds, fail)


def _start_timer(seconds: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _leaf(error: BaseException) -> BaseException:
    """Return what a group of one holds, as that of a task group's."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _explained(error: BaseException) -> CommandError | None:
    from program_executor.commands.failures import explain  # noqa: PLC0415 - when needed

    if isinstance(error, CommandError):
        return error
    return explain(error) if isinstance(error, Exception) else None
