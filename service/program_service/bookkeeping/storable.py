"""Storable: what every database can keep, checked before a transaction depends on it.

PostgreSQL refuses NUL in texts and JSON, no encoding has halves of surrogate pairs, and integers
beyond 64 bits come back changed from some JSON readers.
"""

from typing import Any

import orjson

from program_service.bookkeeping.lifecycle import Json

MAX_DEPTH = 100
"""How deep a value may nest: far beyond real data, far below any JSON reader's own limit."""

NUL_IN_JSON = b"\\u0000"


class NotStorable(ValueError):
    """A value cannot be stored as JSON."""


def storable_text(text: str) -> str:
    """Replace what cannot be stored in a text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def storable_object(value: Any, *, what: str) -> Json:
    """Return a dict as the JSON object that will be stored; `what` names it in errors.

    Raises:
        NotStorable: it is no dict of JSON values, or holds NUL or an integer beyond 64 bits.
    """
    if not isinstance(value, dict):
        msg = f"{what} must be a dict, not {type(value).__name__}"
        raise NotStorable(msg)
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
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
