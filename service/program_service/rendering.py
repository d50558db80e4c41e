"""Rendering: one line of text for each event, whatever jobs and libraries put into it.

No processor and no formatter raises. `logging` would write 60 lines to standard error in the place
of one, and our own events would take down what they tell of.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import orjson
import structlog

from program_service.events import Event
from program_service.plain import (
    clean,
    is_plain,
    plain,
    text_of,
    traceback_of,
    tried,
)
from program_service.pretty import for_people
from program_service.texts import MAX_TEXT_BYTES, cut

Line: TypeAlias = dict[str, Any]
Processor: TypeAlias = Callable[[Any, str, Any], Any]

MAX_LINE_BYTES = 8 * MAX_TEXT_BYTES
"""Of a line in JSON. The values of a longer one have one bound together, and not one each."""

ALWAYS = ("event", "level", "timestamp")

ASIDE = {"_record", "_from_structlog", "exc_info"}
"""What structlog keeps in a line for its own processors."""


def bounded(_logger: object, _method: str, line: Line) -> Line:
    """Cut what is too long for a line, and make texts of what is no JSON."""
    for name, value in line.items():
        kind = type(value)
        if kind is str:
            line[name] = cut(value)
        elif not (kind is Event or name in ASIDE or is_plain(value)):
            line[name] = plain(value)
    return line


def guarded(processor: Processor) -> Processor:
    """Return a processor that leaves a line as it is where the given one raises."""

    def process(logger: Any, method: str, line: Line) -> Line:
        processed: Line = tried(lambda: processor(logger, method, line), line)
        return processed

    return process


def renderers(*, is_json: bool) -> list[Processor]:
    """Return the last processors of a line, for machines or for people."""
    if is_json:
        return [_show_exception, _as_json]
    *others, render = for_people()
    return [_show_exception, *map(guarded, others), _rendered_by(render)]


def _rendered_by(render: Processor) -> Processor:
    """Return a renderer that shows a line in plain values where the given one raises."""

    def rendered(logger: Any, method: str, line: Line) -> str:
        text: str | None = tried(lambda: render(logger, method, dict(line)), None)
        if text is None:
            text = render(logger, method, _plain(_show_exception(logger, method, line)))
        return text.encode("utf-8", "backslashreplace").decode()

    return rendered


def _show_exception(logger: Any, method: str, line: Line) -> Line:
    """Put the traceback of `exc_info` into the line."""
    given = line.get("exc_info")
    if given is None:
        return line
    shown = tried(lambda: structlog.processors.format_exc_info(logger, method, dict(line)), None)
    if shown is not None:
        return {**shown, "exception": cut(text_of(shown.get("exception")))}
    error = given[1] if type(given) is tuple and len(given) > 1 else given
    trace = traceback_of(error) if issubclass(type(error), BaseException) else text_of(given)
    return {name: value for name, value in line.items() if name != "exc_info"} | {
        "exception": cut(trace)
    }


def _as_json(_logger: object, _method: str, line: Line) -> str:
    text = tried(lambda: orjson.dumps(line, default=text_of), None)
    if text is None:
        text = orjson.dumps(_plain(line))
    if len(text) > MAX_LINE_BYTES:
        kept = {name: plain(line[name]) for name in ALWAYS if name in line}
        rest = {name: value for name, value in line.items() if name not in {*kept, *ASIDE}}
        text = orjson.dumps(kept | plain(rest))
    return text.decode()


def _plain(line: Line) -> Line:
    return {plain(name): plain(value) for name, value in line.items() if name not in ASIDE}


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats the lines of jobs and libraries, which come by `logging`."""

    def __init__(self, shared: Sequence[Processor], rendering: Sequence[Processor]) -> None:
        """Take what every line gets, and the renderers."""
        meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
        super().__init__(foreign_pre_chain=shared, processors=[meta, *rendering])

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line = tried(lambda: super(LineFormatter, self).format(record), None)
        return super().format(_told(record)) if line is None else line


def _told(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record with the text of one whose text cannot be made, as by a wrong format."""
    text, args = text_of(record.msg), record.args
    if args:
        text += f" {text_of(plain(args))}"
    told = logging.makeLogRecord({"msg": "%s", "args": (clean(text),)})
    level = record.levelname if type(record.levelname) is str else "error"
    told.levelname, told.name = level, text_of(record.name)
    error = tried(lambda: record.exc_info and record.exc_info[1], None)
    if error is not None and issubclass(type(error), BaseException):
        told.exc_info = (type(error), error, None)
    return told
