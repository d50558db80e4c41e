"""Logs: write our own events, whatever a job module does to the logging of its process.

Neither `logging` nor structlog's global configuration is between an event and standard error, so
`dictConfig`, `logging.disable` and `structlog.configure` change only what jobs log.
"""

import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from program_service.events import Event

PIPE_BYTES = 4_096
"""A pipe that says it can be written to takes so many without waiting (PIPE_BUF on Linux)."""

MOST_BYTES = 10_000_000
"""Of lines that wait until the reader of a full pipe goes on; what is more is lost, and counted."""

FLUSH_WITHIN_S = 1.0


class StandardError:
    """Where lines go: what `sys.stderr` is at the time, or what it was when it was kept."""

    def __init__(self) -> None:
        """Begin with whatever `sys.stderr` is."""
        self._kept: Outlet | None = None

    def keep(self) -> None:
        """Write to what standard error is now, also when `sys.stderr` is replaced or closed."""
        with suppress(OSError, ValueError, AttributeError):  # none, closed, or not a file
            self._kept = Outlet(sys.stderr.fileno())

    def write(self, line: str) -> None:
        """Write one line; where nobody can read it, it is lost, and nothing else happens."""
        if self._kept is not None:
            self._kept.write(f"{line}\n".encode(errors="backslashreplace"))
            return
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = write

    def flush(self) -> None:
        """Wait a moment for lines that were not written yet: the process ends."""
        if self._kept is not None:
            self._kept.is_idle.wait(FLUSH_WITHIN_S)


class Outlet:
    """A descriptor whose reader may stand still: a thread waits for it then, and no caller.

    A full pipe would otherwise stop the event loop, and with it the renewal of all leases.
    """

    def __init__(self, descriptor: int) -> None:
        """Write to the same file, or pipe, also when this descriptor is closed."""
        self._descriptor = _opened_again(descriptor)
        self._poll = _poll_of(self._descriptor)
        self._forget()
        # a child would inherit a lock that somebody holds, and lines that are ours to write
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._turn = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self.is_idle = threading.Event()
        """Whether no line waits to be written."""
        self.is_idle.set()

    def write(self, text: bytes) -> None:
        """Write a text, now or when the reader goes on."""
        with self._turn:
            rest = self._write_now(text) if self.is_idle.is_set() else text
            if rest:
                self._put(rest)

    def _write_now(self, text: bytes) -> bytes:
        """Write what can be written without waiting; return the rest."""
        with suppress(BlockingIOError):
            while text and self._poll.poll(0):
                try:
                    text = text[os.write(self._descriptor, text[:PIPE_BYTES]) :]
                except BlockingIOError:
                    raise
                except OSError:  # nobody will ever read it
                    return b""
        return text

    def _put(self, text: bytes) -> None:
        if self._waiting_bytes + len(text) > MOST_BYTES:
            self._lost += 1
            return
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        if self.is_idle.is_set():
            self.is_idle.clear()
            try:
                threading.Thread(target=self._write_waiting, name="log-writer", daemon=True).start()
            except RuntimeError:  # no thread can be started
                self._waiting.clear()
                self._waiting_bytes, self._lost = 0, self._lost + 1
                self.is_idle.set()

    def _write_waiting(self) -> None:
        """Write the lines that wait, and say how many were lost meanwhile."""
        poll = _poll_of(self._descriptor)
        while (text := self._take()) is not None:
            while text:
                poll.poll()
                try:
                    text = text[os.write(self._descriptor, text) :]
                except BlockingIOError:
                    continue
                except OSError:
                    break

    def _take(self) -> bytes | None:
        with self._turn:
            if self._waiting:
                text = self._waiting.popleft()
                self._waiting_bytes -= len(text)
                return text
            self.is_idle.set()
            lost, self._lost = self._lost, 0
        if lost:
            log.warning(Event.LINES_LOST, lines=lost)
        return None


def _opened_again(descriptor: int) -> int:
    """Return another descriptor of the same; of a pipe one that does not wait, if there can be."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        # the flags of a duplicate would be those of all processes that have it
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return os.dup(descriptor)


def _poll_of(descriptor: int) -> "select.poll":
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll


STANDARD_ERROR = StandardError()


class EventLog:
    """Our events; until logging is configured they go where structlog sends its lines."""

    def __init__(self) -> None:
        """Begin unconfigured."""
        self._configured: Any = None
        self.is_for_machines = False
        """Whether each line is an object of JSON."""

    def configure(self, processors: Sequence[Any], level: str, *, is_for_machines: bool) -> None:
        """Render events of this level and above by these processors, and write them."""
        self.is_for_machines = is_for_machines
        self._configured = structlog.wrap_logger(
            STANDARD_ERROR,
            processors=list(processors),
            wrapper_class=structlog.make_filtering_bound_logger(
                logging.getLevelNamesMapping()[level]
            ),
            context_class=dict,
        ).bind()

    def reset(self) -> None:
        """Be unconfigured again."""
        self._configured = None

    def debug(self, event: Event, **fields: Any) -> None:
        """Log a detail."""
        (self._configured or _GLOBAL).debug(event, **fields)

    def info(self, event: Event, **fields: Any) -> None:
        """Log what happened."""
        (self._configured or _GLOBAL).info(event, **fields)

    def warning(self, event: Event, **fields: Any) -> None:
        """Log what should be looked at."""
        (self._configured or _GLOBAL).warning(event, **fields)

    def error(self, event: Event, **fields: Any) -> None:
        """Log what went wrong for good."""
        (self._configured or _GLOBAL).error(event, **fields)


_GLOBAL: Any = structlog.wrap_logger(None, cache_logger_on_first_use=False)

log = EventLog()
"""The one log of the process; a module imports it by this name."""
