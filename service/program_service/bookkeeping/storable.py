"""Storable: what every database can keep, checked before a transaction depends on it.

PostgreSQL refuses NUL in texts and JSON, no encoding has halves of surrogate pairs, and integers
beyond 64 bits come back changed from some JSON readers.
"""

from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from math import inf
from typing import Any
from uuid import UUID

import orjson

from program_service.bookkeeping.lifecycle import Json
from program_service.plain import SCALARS, is_plain, name_of

MAX_DEPTH = 100
"""How deep a value may nest: far beyond real data, far below any JSON reader's own limit."""

MAX_PARTS = 2_000_000
"""How many values one may hold: a list of 60 lists that hold each other twice has 2 ** 60."""

NUL_IN_JSON = b"\\u0000"


class NotStorable(ValueError):
    """A value cannot be stored as JSON."""


def storable_text(text: str) -> str:
    """Replace what cannot be stored in a text."""
    # by the methods of `str`: a subclass may have its own
    whole = str.replace(text, "\0", "\N{REPLACEMENT CHARACTER}")
    return whole.encode("utf-8", "replace").decode()


def storable_object(value: Any, *, what: str) -> Json:
    """Return a dict as the JSON object that will be stored; `what` names it in errors.

    Raises:
        NotStorable: it is no dict of JSON values, or holds NUL or an integer beyond 64 bits.
    """
    if not issubclass(type(value), dict):
        msg = f"{what} must be a dict, not {name_of(value)}"
        raise NotStorable(msg)
    try:
        is_ready = is_plain(value, most=MAX_PARTS, longest=inf)
        text = orjson.dumps(value if is_ready else _Plainly().of(value, 0))
    except (orjson.JSONEncodeError, RecursionError) as error:
        msg = f"{what} must hold JSON values only: {error}"
        raise NotStorable(msg) from error
    stored: Json = orjson.loads(text)
    if is_deep(text, stored):
        msg = f"{what} nests deeper than {MAX_DEPTH} levels"
        raise NotStorable(msg)
    if NUL_IN_JSON in text and holds_nul(stored):
        msg = f"{what} holds the character NUL (U+0000), which PostgreSQL cannot store"
        raise NotStorable(msg)
    return stored


class _Plainly:
    """Takes a value apart into Python's own types, of which alone orjson is given some.

    Of those that orjson knows it asks what may raise, as the `value` of an Enum and the offset of a
    time zone, and takes the process down then.
    """

    def __init__(self) -> None:
        """Begin."""
        self._left = MAX_PARTS

    def of(self, value: Any, depth: int) -> Any:
        """Return a value of Python's own types.

        Raises:
            TypeError: it is no JSON.
        """
        self._left -= 1
        if self._left < 0:
            msg = f"it holds more than {MAX_PARTS} values"
            raise orjson.JSONEncodeError(msg)
        kind, deeper = type(value), depth + 1
        if kind in SCALARS:
            return value
        if issubclass(kind, dict):
            return {key: self.of(each, deeper) for key, each in dict.items(value)}
        if issubclass(kind, list) or kind is tuple:
            return [self.of(each, deeper) for each in (*value,)]
        return self._other(value, deeper)

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if issubclass(kind, Enum):
            return self.of(value.value, depth)
        if issubclass(kind, str):
            return str.__str__(value)
        if issubclass(kind, int):
            return int.__int__(value)
        if kind in {datetime, date, time}:
            return value.isoformat()
        if kind is UUID:
            return str(value)
        if is_dataclass(kind):
            return {each.name: self.of(getattr(value, each.name), depth) for each in fields(kind)}
        msg = f"Type is not JSON serializable: {name_of(value)}"
        raise orjson.JSONEncodeError(msg)


def is_deep(text: bytes, value: Any) -> bool:
    """Say whether a JSON text, read as `value`, nests too deeply."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    depth, level = 0, [value]
    while level:  # level by level: recursion has a limit of its own
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth > MAX_DEPTH + 1


def holds_nul(value: Any) -> bool:
    """Say whether a JSON value has NUL in a string or a key."""
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in key or holds_nul(inner) for key, inner in value.items())
        case list():
            return any(holds_nul(inner) for inner in value)
        case _:
            return False
