"""Interpreter: undo what a job module changes in the process and the worker depends on.

A module may configure logging, install signal handlers, or turn warnings into errors: it was
written as if the process were its own. What only concerns the jobs is left as the module wants it.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from program_service.logs import log
from program_service.telemetry import Event

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)
"""Those that end the worker: SIGPIPE too, if it is not ignored, at the first lost connection."""

LOOK_EVERY_S = 5.0

SMALLEST_STACK_BYTES = 1_000_000
"""A database driver and a job of some depth need about so much; usual are 8 MB."""

MOST_NAMES = 5
"""Loggers that are named; a `dictConfig` disables all that there are."""


class Interpreter:
    """What the process was like before the job modules, and how to make it so again."""

    def __init__(self) -> None:
        """Look at the process."""
        root = logging.getLogger()
        self._level = root.level
        self._handlers = [(each, each.level, each.formatter) for each in root.handlers]
        self._disabled = set(_disabled_loggers())
        self._filters = list(warnings.filters)
        self._handlers_of_signals = {number: signal.getsignal(number) for number in SIGNALS}
        self._blocked_signals = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._recursion_limit = sys.getrecursionlimit()
        self._stack_bytes = threading.stack_size()
        self._switch_interval_s = sys.getswitchinterval()

    def restore(self) -> list[str]:
        """Undo what was changed meanwhile, and say what that was."""
        return [
            *self._restore_logging(),
            *self._restore_warnings(),
            *self._restore_signals(),
            *self._restore_limits(),
        ]

    def _restore_logging(self) -> Iterator[str]:
        root = logging.getLogger()
        for handler, level, formatter in self._handlers:
            if handler not in root.handlers:
                root.addHandler(handler)
                yield "the handler of the root logger was removed"
            if (handler.level, handler.formatter) != (level, formatter):
                handler.setLevel(level)
                handler.setFormatter(formatter)
                yield "the handler of the root logger was changed"
        if root.level > self._level:
            yield f"the level of the root logger was raised to {logging.getLevelName(root.level)}"
            root.setLevel(self._level)
        if root.manager.disable > logging.NOTSET:
            yield f"logging was disabled up to {logging.getLevelName(root.manager.disable)}"
            logging.disable(logging.NOTSET)
        disabled = sorted(set(_disabled_loggers()) - self._disabled)
        for name in disabled:
            logging.getLogger(name).disabled = False
        if disabled:
            more = f" and {len(disabled) - MOST_NAMES} more" if len(disabled) > MOST_NAMES else ""
            yield f"loggers were disabled: {', '.join(disabled[:MOST_NAMES])}{more}"

    def _restore_warnings(self) -> Iterator[str]:
        """Take back filters that turn all warnings into errors: a library's would fail our loops.

        One for a module or a message is left: it is about the jobs' own code.
        """
        meant_for_all = [
            each
            for each in warnings.filters
            if each[0] == "error" and each[1] is None and each[3] is None
        ]
        added = [each for each in meant_for_all if each not in self._filters]
        if added:
            kept = [each for each in warnings.filters if each not in added]
            warnings.filters[:] = kept  # type: ignore[index]
            with warnings.catch_warnings():  # that makes Python look at the filters again
                pass
            yield "warnings were turned into errors"

    def _restore_signals(self) -> Iterator[str]:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._handlers_of_signals.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)
                yield f"the handler of {number.name} was replaced"
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) - self._blocked_signals
        if names := sorted(number.name for number in SIGNALS if number in blocked):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            yield f"signals were blocked: {', '.join(names)}"

    def _restore_limits(self) -> Iterator[str]:
        if (limit := sys.getrecursionlimit()) < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
            yield f"the recursion limit was lowered to {limit}"
        if (interval_s := sys.getswitchinterval()) > self._switch_interval_s:
            sys.setswitchinterval(self._switch_interval_s)
            yield f"threads were made to switch every {interval_s} s only"

    def restore_after_import(self) -> None:
        """Undo what the job modules changed when they were imported, and log it."""
        changes = [*self.restore(), *_restore_streams(), *self._restore_lasting()]
        if changes:
            log.warning(Event.PROCESS_RESTORED, changes=changes)

    def _restore_lasting(self) -> Iterator[str]:
        """Undo what a job may do for a moment, and what a module that does it means for ever."""
        if not gc.isenabled():
            gc.enable()
            yield "garbage collection was disabled"
        if gc.get_debug():
            gc.set_debug(0)
            yield "garbage was kept for debugging"
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.alarm(0):
            yield "an alarm was set, which would end the process"
        if 0 < threading.stack_size() < (self._stack_bytes or SMALLEST_STACK_BYTES):
            threading.stack_size(self._stack_bytes)
            yield "the stacks of threads were made small"


class InterpreterWatch:
    """Looks, while jobs run, at what they change in the process."""

    name = "interpreter"

    def __init__(self, listen_to_signals: Callable[[], None]) -> None:
        """Take the process as it is now for right; the event loop's handlers are installed anew."""
        self._interpreter = Interpreter()
        self._listen_to_signals = listen_to_signals
        self._named: set[str] = set()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Undo what was changed; each kind of change is logged once."""
        new = [each for each in self._interpreter.restore() if each not in self._named]
        # another handler in the same event loop cannot be seen
        self._listen_to_signals()
        if new:
            self._named.update(new)
            log.warning(Event.PROCESS_RESTORED, changes=new)


def _disabled_loggers() -> Iterator[str]:
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.disabled:
            yield name


def _restore_streams() -> Iterator[str]:
    """Open standard output and standard error again if they were closed: `print` would raise."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            with suppress(OSError):
                os.fstat(number)
                opened = os.fdopen(os.dup(number), "w", errors="backslashreplace")
                setattr(sys, name, opened)
            yield f"sys.{name} was closed"
