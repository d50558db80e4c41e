"""Stored: read what a column holds, whatever people and other programs wrote into it.

Nothing here raises: a list of rows must not fail because one of them cannot be read.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
"""What a moment before the year 1, or after the year 9999, is read as; infinity, too."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where PostgreSQL counts from."""

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class UnreadableJson:
    """What a JSON column holds where it cannot be read; `reason` says why.

    PostgreSQL's json and MariaDB's texts hold what no reader takes: half of a surrogate pair, a
    number beyond a double, a thousand levels.
    """

    text: str = field(repr=False)  # it is the users' data, and errors are logged
    reason: str

    def repaired(self) -> Any:
        """Return the value with replacements for what is unreadable, or itself.

        For people: half of a surrogate pair becomes `?`, and a number out of range a text.
        """
        try:
            value = json.loads(
                self.text, parse_float=_number, parse_int=_number, parse_constant=str
            )
            return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return self


def _number(text: str) -> Any:
    """Read a number; one that no double holds stays a text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


class ParsedText(str):
    """A JSON document that is a text, parsed: PostgreSQL's driver parses before we do."""

    __slots__ = ()


def read_json(value: Any) -> Any:
    """Return what a database answered for a JSON column: parsed already, or a text."""
    if type(value) is not str:
        return value
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return UnreadableJson(value, str(error))
    return ParsedText(parsed) if type(parsed) is str else parsed


def read_count(value: Any) -> int:
    """Return what a database answered for a count; SQLite keeps texts and fractions in one, too.

    What is no whole number is read as none, so that a sum with others fails for nobody.
    """
    return value if type(value) is int else 0


def read_text(value: Any) -> str:
    """Return what a database answered for a text; SQLite keeps bytes and numbers in one, too."""
    if type(value) is bytes:
        return value.decode("utf-8", "replace")
    return value if type(value) is str else str(value)


def read_moment(value: datetime | str | None) -> datetime | None:
    """Return what a database answered for a moment as an aware datetime in UTC.

    What is no moment is read as the earliest one.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        # what has no zone was written in UTC
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, AttributeError):
        return EARLIEST


def require_moment(value: datetime | str | None) -> datetime:
    """Return what a database answered for a moment that is never NULL."""
    return read_moment(value) or EARLIEST


def moment_of_postgresql(parts: tuple[int]) -> datetime:
    """Read a timestamptz; asyncpg's own decoder raises for years that Python does not have."""
    (microseconds,) = parts
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return EARLIEST if microseconds < 0 else LATEST


def postgresql_of_moment(moment: datetime) -> tuple[int]:
    """Write a timestamptz."""
    return ((moment - EPOCH) // MICROSECOND,)
