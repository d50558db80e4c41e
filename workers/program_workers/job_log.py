"""Job log: what a job's log lines carry, and the last of them, kept with the attempt.

Lines come as they come to any handler of the root logger, from `logging` and from structlog. Whose
they are is told by the context they are logged in, which a job's tasks and threads share with it.
"""

import contextvars
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import starmap
from typing import Any

import orjson
import structlog

from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.bookkeeping.unstorable import NotStorable
from program_service.plain import is_plain, name_of, plain, text_of, tried
from program_service.redaction import CUT
from program_service.settings import Settings
from program_service.telemetry import Event

# by their variables: bind_contextvars looks each up, and takes 700 ns for a step instead of 200
_bound = contextvars.copy_context().run(
    structlog.contextvars.bind_contextvars, job="", step=0, attempt=0
)
_job, _step, _attempt = (_bound[name].var for name in ("job", "step", "attempt"))
_lines: contextvars.ContextVar["Lines | None"] = contextvars.ContextVar("lines", default=None)

FRAME_BYTES = 120
"""What a line takes besides its text: moment, level, and the marks of JSON."""


def bind_step(program: Claimed) -> None:
    """Let what is logged from here on carry the step; its run_id is bound already."""
    _job.set(program.job)
    _step.set(program.step)
    _attempt.set(program.attempt)


class JobLog(logging.Handler):
    """Hear what jobs log, up to so much of each attempt."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits."""
        super().__init__(logging.getLevelNamesMapping()[settings.attempt_log_level])
        self.max_lines = settings.attempt_log_lines
        self.max_bytes = settings.attempt_log_bytes
        self._root = logging.getLogger()
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen meanwhile, unless the limits leave room for nothing."""
        self._is_listening = bool(self.max_lines and self.max_bytes)
        self._listen()
        try:
            yield
        finally:
            self._is_listening = False
            self._root.removeHandler(self)

    def _listen(self) -> None:
        """Listen, again if a job has configured logging since."""
        if self._is_listening and self not in self._root.handlers:
            self._root.addHandler(self)

    def begin(self, program: Claimed) -> "Lines":
        """Keep from here on what this task logs, and what it starts."""
        self._listen()
        lines = Lines(self, program)
        _lines.set(lines)
        return lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of a job that still runs; what we say ourselves is none.

        It raises nothing: the job would take it for an error of its own.
        """
        lines = _lines.get()
        if lines is not None and lines.heard_by is self and not _is_ours(record):
            tried(partial(lines.keep, record, self.max_lines, self.max_bytes), None)


class Lines:
    """The last lines that one attempt logs."""

    __slots__ = ("_kept", "_program", "heard_by")

    def __init__(self, heard_by: JobLog, program: Claimed) -> None:
        """Begin with none."""
        self.heard_by: JobLog | None = heard_by
        self._program = program
        self._kept: Kept | None = None

    def keep(self, record: logging.LogRecord, max_lines: int, max_bytes: int) -> None:
        """Add a line, within limits."""
        if self._kept is None:
            self._kept = Kept(max_lines, max_bytes)
        self._kept.add(_line_of(record, self._program))

    def end(self) -> list[Json] | None:
        """Return the lines, oldest first; what is logged from now on comes too late."""
        heard_by, self.heard_by = self.heard_by, None
        if heard_by is None or self._kept is None:
            return None
        heard_by.acquire()  # a thread that the job left behind may be logging
        try:
            return self._kept.told()
        finally:
            heard_by.release()


class Kept:
    """The last lines, within limits, and how many were left out before them."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        """Begin with none."""
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: deque[tuple[Json, int]] = deque()
        self._bytes = 0
        self._left_out = 0
        self._left_out_at = ""

    def add(self, line: Json) -> None:
        """Add a line, and leave out the oldest for which there is no room any more."""
        line, size = _fitted(line, self._max_bytes)
        self._lines.append((line, size))
        self._bytes += size
        while len(self._lines) > self._max_lines or self._bytes > self._max_bytes:
            oldest, size = self._lines.popleft()
            self._bytes -= size
            self._left_out += 1
            self._left_out_at = oldest["at"]

    def told(self) -> list[Json]:
        """Return them; the first says how many were left out, if any were."""
        lines = [line for line, _ in self._lines]
        if not self._left_out:
            return lines
        text = f"{self._left_out} lines before these were left out"
        fields = {"left_out": self._left_out}
        told = {"at": self._left_out_at, "level": "info", "text": text, "fields": fields}
        return [told, *lines]


def _is_ours(record: logging.LogRecord) -> bool:
    return isinstance(record.msg, dict) and isinstance(record.msg.get("event"), Event)


def _line_of(record: logging.LogRecord, program: Claimed) -> Json:
    """Return a line as it is stored: `at`, `level`, `text`, and `fields` where it has some."""
    line: Json = {"at": datetime.now(UTC).isoformat(), "level": "error"}
    try:
        line["at"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        line["level"] = storable_text(str.lower(record.levelname))
        text, fields = _content(record, program)
        line["text"] = storable_text(text)
        if fields:
            line["fields"] = _storable(fields)
    except BaseException as error:  # noqa: BLE001 - a job's own __str__ or its wrong format
        said = text_of(error) or name_of(error)
        line["text"] = storable_text(f"a line that cannot be told: {said}")
    return line


def _content(record: logging.LogRecord, program: Claimed) -> tuple[str, dict[Any, Any]]:
    """Return text and fields; what every line of the step carries stands in the attempt already."""
    if isinstance(record.msg, dict) and "event" in record.msg:  # of structlog
        carried = {
            "run_id": program.run_id,
            "job": program.job,
            "step": program.step,
            "attempt": program.attempt,
        }
        fields = {
            name: value
            for name, value in record.msg.items()
            if name not in {"level", "timestamp"} and (name, value) not in carried.items()
        }
        structlog.processors.format_exc_info(None, "", fields)
        return str(fields.pop("event", "")), fields
    if record.exc_info and record.exc_info[0] is not None:
        trace = logging.Formatter().formatException(record.exc_info)
        return record.getMessage(), {"exception": trace}
    return record.getMessage(), {}


def _storable(fields: dict[Any, Any]) -> Json:
    """Return fields as they are, but for values that cannot be stored: of those, their texts."""
    try:
        return storable_object(fields if is_plain(fields) else plain(fields), what="fields")
    except NotStorable:
        fitting = starmap(_field, plain(fields).items())
        return {name: value for each in fitting for name, value in each.items()}


def _field(name: str, value: Any) -> Json:
    try:
        return storable_object({name: value}, what="fields")
    except NotStorable:  # it holds NUL
        return {storable_text(name): storable_text(str(value))}


def _fitted(line: Json, max_bytes: int) -> tuple[Json, int]:
    """Return a line and its size; one that is too long by itself loses its fields, then text."""
    whole, length = line["text"], max(0, max_bytes - FRAME_BYTES)
    size = len(orjson.dumps(line))
    while size > max_bytes and length:
        line = {"at": line["at"], "level": line["level"], "text": whole[:length] + CUT}
        size = len(orjson.dumps(line))
        length //= 2  # characters may take several bytes
    return line, size
