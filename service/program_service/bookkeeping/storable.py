"""Storable: the one definition of the data that are kept.

A value is storable if every database keeps it, and every reader of JSON reads the same value again:
objects, lists, texts without NUL, integers of 64 bits, finite floats, true, false and null. All
other is rejected with its path, and nothing is converted.
"""

from math import isfinite
from typing import Any

import orjson

from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.unstorable import (
    MAX_DEPTH,
    MAX_PARTS,
    TOO_MANY,
    NotStorable,
    copied,
)
from program_service.plain import BIGGEST, SMALLEST, name_of

NUL_IN_JSON = b"\\u0000"
TEXTS = frozenset({str, bool, type(None)})
"""Types of values without a range."""


def storable_text(text: str) -> str:
    """Replace what cannot be stored in a text."""
    # by the methods of `str`: a subclass may have its own
    whole = str.replace(text, "\0", "\N{REPLACEMENT CHARACTER}")
    return whole.encode("utf-8", "replace").decode()


def storable_object(value: Any, *, what: str) -> Json:
    """Return a copy of a dict, as it will be stored; `what` names it in errors.

    Raises:
        NotStorable: it is no dict, or holds what cannot be stored; the message says where.
    """
    if not issubclass(type(value), dict):
        msg = f"must be a dict, not {name_of(value)}"
        raise NotStorable(msg, what=what)
    if is_in_range(value, what=what):
        try:
            text = orjson.dumps(value)
        except orjson.JSONEncodeError:
            pass  # half of a surrogate pair, or a key that is no text
        else:
            if NUL_IN_JSON not in text:
                stored: Json = orjson.loads(text)
                return stored
    slowly: Json = copied(value, what=what)
    return slowly


def is_in_range(value: object, *, what: str) -> bool:
    """Say whether a value is of Python's own types, its numbers and its depth within the limits.

    Only then is it for orjson, which writes null for NaN, and takes the whole process down when the
    `value` of an Enum or a time zone of a user's raises. orjson itself looks at the texts.

    Raises:
        NotStorable: it holds too many values.
    """
    parts, level = 0, [value]
    for _ in range(MAX_DEPTH + 1):
        parts += len(level)
        if parts > MAX_PARTS:
            raise NotStorable(TOO_MANY, what=what)
        inside = _inside(level)
        if not inside:
            return inside is not None
        level = inside
    return False


def _inside(level: list[Any]) -> list[Any] | None:
    """Return what is inside of values; None if one of them is not for orjson."""
    inside: list[Any] = []
    for each in level:
        kind = type(each)
        if kind is dict:
            inside += each.values()
        elif kind is list:
            inside += each
        elif kind is int:
            if not SMALLEST <= each <= BIGGEST:
                return None
        elif kind not in TEXTS and not (kind is float and isfinite(each)):
            return None
    return inside
