"""Pretty: log lines for people at a terminal."""

import sys
from typing import Any

import structlog


def for_people() -> list[Any]:
    """Return the last processors of a line, the renderer among them."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        # rich's, which is taken by itself, shows local variables: keys, and the users' data
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_show_stack_below, renderer]


def _show_stack_below(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    """Put a job's traceback beneath the line, in lines of its own."""
    if stack := line.pop("error_stack", None):
        line["stack"] = str(stack).rstrip()
    return line
