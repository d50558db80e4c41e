"""Parsing: the one reader of JSON that comes from outside.

orjson is strict, but reads integers beyond 64 bits as floats. Where it rejects a text, or that may
have happened, Python's own reader, which takes everything, says where in the text the fault is.
"""

import json
import re
from codecs import BOM_UTF8
from typing import Any

import orjson

from program_service.bookkeeping.storable import NUL_IN_JSON
from program_service.bookkeeping.unstorable import (
    HOLDS_NUL,
    MAX_DEPTH,
    TOO_DEEP,
    TOO_LONG,
    NotStorable,
    copied,
)
from program_service.plain import BIGGEST, SMALLEST

MALFORMED = "malformed_body"
LONG_NUMBER = re.compile(rb"\d{19,}")
MAX_DIGITS = len(str(SMALLEST))
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
MAX_EXPLAINED = 262_144
"""Bytes of a text in which the path of a fault is looked for: that takes up to 0.1 s."""
JSON_TYPE = re.compile(
    r"(?:(?:application|text)/json|[\w.+-]+/[\w.+-]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)
"""The content types of JSON, as in the WHATWG's MIME Sniffing."""


class NotJson(NotStorable):
    """A text is no JSON."""

    def __init__(self, flaw: str, *, what: str = "it") -> None:
        """Take what is wrong."""
        super().__init__(f"is not JSON: {flaw}", what=what, code=MALFORMED)


NO_UTF8 = "it is not UTF-8"


def parse(body: bytes, *, what: str) -> Any:
    """Parse a text of JSON; a byte order mark at its start is skipped.

    Raises:
        NotJson: it is none.
        NotStorable: it holds what cannot be stored; its code is `malformed_body` where JSON does
            not have that either, such as NaN.
    """
    content = body.removeprefix(BOM_UTF8)
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _rejection(content, error, what) from error
    if flaw := _flaw_of(content, value, what):
        raise _with_path(content, what) or flaw
    return value


def parse_text(text: str, *, what: str) -> Any:
    """Parse a text that was read already, as `parse` does."""
    try:
        return parse(text.encode(), what=what)
    except UnicodeEncodeError as error:  # of what was no UTF-8
        raise NotJson(NO_UTF8, what=what) from error


def _flaw_of(content: bytes, value: Any, what: str) -> NotStorable | None:
    """Return what is wrong with a text that orjson takes."""
    has_depth = content.count(b"[") + content.count(b"{") > MAX_DEPTH
    if has_depth and is_deep(value):
        return NotStorable(TOO_DEEP, what=what, code="nested_too_deeply")
    if NUL_IN_JSON in content and NUL.search(content):
        return NotStorable(HOLDS_NUL, what=what, code="nul_character")
    if LONG_NUMBER.search(content) and _has_long_integer(content):
        return NotStorable(TOO_LONG.replace("is", "holds", 1), what=what, code="integer_too_long")
    return None


def _rejection(content: bytes, error: orjson.JSONDecodeError, what: str) -> NotStorable:
    """Say what is wrong with a text that orjson rejects."""
    if "ecursion" in str(error) or "depth" in str(error):
        return NotStorable(TOO_DEEP, what=what, code="nested_too_deeply")
    try:
        content.decode()
    except UnicodeDecodeError as undecodable:
        return NotJson(_encoding_of(content, undecodable), what=what)
    found = _with_path(content, what)
    if found is None:
        return NotJson(str(error), what=what)
    if found.code == "not_storable":  # NaN, or half of a surrogate pair
        found.code = MALFORMED
    return found


def _with_path(content: bytes, what: str) -> NotStorable | None:
    """Return what Python's own reader finds, if the text is short enough to be looked through."""
    if len(content) > MAX_EXPLAINED:
        return None
    try:
        copied(json.loads(content.decode(), parse_int=_integer), what=what)
    except NotStorable as error:
        return error
    except (ValueError, RecursionError):
        return None
    return None


def _integer(digits: str) -> int:
    return int(digits[:40])  # beyond 64 bits in any case; int() of a million digits takes minutes


def _encoding_of(content: bytes, error: UnicodeDecodeError) -> str:
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in content[:2]:
        return f"{NO_UTF8}, but looks like UTF-16; send it as UTF-8"
    byte = content[error.start]
    return f"{NO_UTF8} (byte 0x{byte:02X} at position {error.start}); send it as UTF-8"


def is_deep(value: Any) -> bool:
    """Say whether a value nests too deeply."""
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


def _has_long_integer(content: bytes) -> bool:
    """Look for integers that orjson has turned into floats, outside of strings."""
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', content)
    numbers = re.findall(rb"(?<![\d.eE+-])(-?\d{19,})(?![\d.eE])", outside)
    # int() of a text of a megabyte is slow, and needless
    return any(
        len(number) > MAX_DIGITS or not SMALLEST <= int(number) <= BIGGEST for number in numbers
    )
