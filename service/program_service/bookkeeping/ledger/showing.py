"""Show: what people see of a row that somebody else wrote into, so that they can repair it.

A list must not fail because of one of its rows. What is as we write it is shown as it is.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from program_service.bookkeeping.flaws import flaw_of_facts, flaw_of_program, not_an_object
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.stored import (
    EARLIEST,
    UnreadableJson,
    read_count,
    read_moment,
    read_text,
)

NOTE = "(unreadable)"
"""The one field of what is shown in the place of an object that is none; its value says why."""

# in all databases but SQLite a number is a number, and a text a text
NUMBERS = ("step", "step_retry_count", "lease_losses", "resumes", "version", "attempt")
TEXTS = (
    *("run_id", "job", "queue", "error_message", "claimed_by", "submitted_by", "parent_run_id"),
    *("traceparent", "notify", "worker", "outcome", "error_type", "error_code", "traceback"),
)


def shown_program(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the columns of a program as they are shown, and why it cannot be run, if it cannot."""
    shown = {
        **_typed(values),
        "jobs": _names(values["jobs"]),
        "program_data": shown_object("program_data", values["program_data"]),
        "job_data": _objects("job_data", values["job_data"]),
        "labels": _texts(shown_object("labels", values["labels"])),
    }
    return shown, None if values["finished_at"] is not None else _flaw_of(values)


def shown_attempt(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an attempt as they are shown."""
    log = _readable(values["log"])
    lines = [line for line in log if _is_line(line)] if isinstance(log, list) else []
    return {**_typed(values), "log": lines}


def _flaw_of(values: Mapping[str, Any]) -> str | None:
    columns = ("jobs", "step", "program_data", "job_data")
    facts = ("created_at", "step_retry_count", "lease_losses")
    return flaw_of_program(*(values[name] for name in columns)) or flaw_of_facts(
        *(values[name] for name in facts)
    )


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make numbers and texts of what should be some."""
    typed = dict(values)
    for name in NUMBERS:
        if name in typed:
            typed[name] = read_count(typed[name])
    for name in TEXTS:
        if name in typed and typed[name] is not None and type(typed[name]) is not str:
            typed[name] = read_text(typed[name])
    return typed


def shown_object(place: str, value: Any) -> Json:
    """Return a JSON object, or one that says why there is none."""
    found = _readable(value)
    if type(found) is not dict:
        return {NOTE: not_an_object(place, value)}
    return found if _is_shallow(found) else {NOTE: f"{place} nests too deeply to be shown"}


def _objects(place: str, value: Any) -> dict[str, Json]:
    found = _readable(value)
    if type(found) is not dict:
        return {NOTE: shown_object(place, value)}
    return {name: shown_object(f"{place}.{name}", each) for name, each in found.items()}


def _texts(value: Json) -> dict[str, str]:
    return {key: _text(each) for key, each in value.items()}


def _names(jobs: Any) -> list[str]:
    found = _readable(jobs)
    return [_text(name) for name in found] if type(found) is list else []


def _readable(value: Any) -> Any:
    return value.repaired() if isinstance(value, UnreadableJson) else value


def _text(value: Any) -> str:
    """Return a text; of any other JSON what it looks like."""
    return value if type(value) is str else orjson.dumps(value, default=read_text).decode()


def _is_shallow(value: Json) -> bool:
    """Say whether a value can be written with all that a page puts around it: 254 levels in all."""
    if not value:
        return True
    try:
        orjson.dumps([[[[[[[[value]]]]]]]])
    except orjson.JSONEncodeError:
        return False
    return True


def _is_line(line: Any) -> bool:
    """Say whether something is a line as `job_log` keeps it."""
    return (
        type(line) is dict
        and all(type(line.get(name)) is str for name in ("at", "level", "text"))
        and read_moment(line["at"]) is not EARLIEST
        and type(fields := line.get("fields", {})) is dict
        and _is_shallow(fields)
    )
