"""Pretty: log lines for people at a terminal."""

import sys
from textwrap import indent
from typing import Any

import structlog

from program_service.plain import text_of
from program_service.terminal import in_line, printable

INDENT = "    "
"""Before each line of a traceback: a line that begins at the margin is an event."""


def for_people() -> list[Any]:
    """Return the last processors of a line, the renderer among them; it has no `exc_info` left."""
    return [_in_one_line, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _in_one_line(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    """Keep each value in its line, and put tracebacks beneath, so that no text forges a line."""
    stacks = [line.pop(name, None) for name in ("error_stack", "stack", "exception")]
    shown = {in_line(text_of(name)): _shown(value) for name, value in line.items()}
    below = [_below(text_of(stack)) for stack in stacks if stack]
    return shown | ({"stack": "\n".join(below)} if below else {})


def _shown(value: object) -> object:
    is_harmless = value is None or type(value) in {bool, int, float}
    return value if is_harmless else in_line(text_of(value))


def _below(text: str) -> str:
    return indent(printable(text).rstrip(), INDENT, lambda _line: True)
