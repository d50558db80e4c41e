"""Switch: traces are off unless a setting says so; then nothing of OpenTelemetry is imported."""

import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from program_service.tracing.spans import HEADER, Traces

if TYPE_CHECKING:
    from program_service.settings import Settings  # clients come here, and need none


class NoOpenTelemetry(Exception):
    """TRACES=true needs OpenTelemetry: `pip install 'program-executor[otel]'`."""

    def __str__(self) -> str:
        """Say what to do."""
        return str(self.__doc__)


def traces_of(settings: "Settings") -> Traces:
    """Return the traces, on or off as the settings say.

    Raises:
        NoOpenTelemetry: they are on, and it is not installed.
    """
    if not settings.traces:
        return Traces()
    try:
        from program_service.tracing.live import LiveTraces  # noqa: PLC0415 - only when on

        return LiveTraces()
    except ImportError as error:
        raise NoOpenTelemetry from error


def end_traces() -> None:
    """Export what is left, at the end of a process, as far as that can be done soon."""
    if "program_service.tracing.live" in sys.modules:
        from program_service.tracing import live  # noqa: PLC0415 - only when on

        live.end()


def current_headers() -> dict[str, str]:
    """Return what continues the trace that we are in, if this process uses OpenTelemetry.

    For clients: their processes are other people's, and our settings say nothing there.
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from program_service.tracing import live  # noqa: PLC0415 - only where it is in use

    return live.current_headers()


def add_trace_id(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add to a log line where in which trace it was written."""
    if parts := current_headers().get(HEADER, "").split("-")[1:3]:
        line["trace_id"], line["span_id"] = parts
    return line
