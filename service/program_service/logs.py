"""Logs: write our own events, whatever a job module does to the logging of its process.

Neither `logging` nor structlog's global configuration is between an event and standard error, so
`dictConfig`, `logging.disable` and `structlog.configure` change only what jobs log.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from program_service.events import Event


class StandardError:
    """Where lines go: what `sys.stderr` is at the time, or the stream that was kept."""

    def __init__(self) -> None:
        """Begin with whatever `sys.stderr` is."""
        self._kept: Any = None

    @property
    def stream(self) -> Any:
        """Return the stream."""
        return self._kept or sys.stderr

    def keep(self) -> None:
        """Write to what standard error is now, also when `sys.stderr` is replaced or closed."""
        with suppress(OSError, ValueError, AttributeError):  # none, closed, or not a file
            self._kept = os.fdopen(
                os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="backslashreplace"
            )

    def write(self, line: str) -> None:
        """Write one line; where nobody reads, it is lost, and nothing else happens."""
        with suppress(OSError, ValueError, AttributeError):
            # in one call: lines of several threads do not mix
            self.stream.write(f"{line}\n")
            self.stream.flush()

    debug = info = warning = error = write


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
