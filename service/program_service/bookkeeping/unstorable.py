"""Unstorable: copy a value part by part, or say which part cannot be stored, and what would be."""

import re
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite, isnan
from typing import Any
from uuid import UUID

from program_service.plain import BIGGEST, SMALLEST, name_of, tried

MAX_DEPTH = 100
"""How deep a value may nest: far beyond real data, far below any JSON reader's own limit."""

MAX_PARTS = 2_000_000
"""How many values one may hold: a list of 60 lists that hold each other twice has 2 ** 60."""

TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels"
TOO_MANY = f"holds more than {MAX_PARTS} values"
TOO_LONG = "is an integer beyond 64 bits; store it as a string"
HOLDS_NUL = (
    "holds the character NUL (U+0000), which PostgreSQL cannot store; leave it out, or encode"
    " binary data as base64"
)

WORD = re.compile(r"[^\W\d][\w-]*")
HALF = re.compile("[\ud800-\udfff]")
MAX_SHOWN = 60
"""Characters of a value, and of a key in a path."""
MAX_PATH = 300


class NotStorable(ValueError):
    """A value cannot be stored as JSON; `path` says where it is in `what`, `flaw` what it is."""

    names: Sequence[str] = ()
    """The names of the fields on the path."""
    discreet: str | None = None
    """The flaw without the value itself, where it is shown."""

    def __init__(
        self, flaw: str, *, what: str = "it", path: str = "", code: str = "not_storable"
    ) -> None:
        """Take what is wrong, and the stable word for it."""
        self.flaw, self.what, self.path, self.code = flaw, what, path, code
        super().__init__(f"{what}: {path} {flaw}" if path else f"{what} {flaw}")

    def without_value(self) -> "NotStorable":
        """Return the same error, for a field whose value may not be shown."""
        flaw = self.discreet or self.flaw
        return NotStorable(flaw, what=self.what, path=self.path, code=self.code)


def copied(value: Any, *, what: str) -> Any:
    """Return a copy of a value, of Python's own types; its subclasses of str, dict, … are equal.

    Raises:
        NotStorable: a part of it cannot be stored.
    """
    try:
        return _Copy(what).of(value)
    except RecursionError as error:  # a job may have lowered the limit
        raise NotStorable(TOO_DEEP, what=what, code="nested_too_deeply") from error


class _Copy:
    """One walk through a value; nothing of a user's is called but in `tried`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._path: list[str | int] = []
        self._left = MAX_PARTS

    def of(self, value: Any) -> Any:
        """Copy a value at the path."""
        self._left -= 1
        if self._left < 0:
            raise NotStorable(TOO_MANY, what=self._what)
        if len(self._path) > MAX_DEPTH:
            raise NotStorable(TOO_DEEP, what=self._what, code="nested_too_deeply")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if not issubclass(kind, Enum):
            for each, copy in self._kinds:
                if issubclass(kind, each):
                    return copy(self, value)
        raise self._error(_said_of(value, _shown(value)), discreet=_said_of(value, _kind(value)))

    def _text(self, value: str) -> str:
        text = str.__str__(value)
        if "\0" in text:
            raise self._error(HOLDS_NUL, "nul_character")
        if half := HALF.search(text):
            point = f"U+{ord(half[0]):X}"
            flaw = f"holds half of a surrogate pair ({point}), which is no character"
            raise self._error(flaw)
        return text

    def _integer(self, value: int) -> int:
        if not SMALLEST <= (number := int.__int__(value)) <= BIGGEST:
            raise self._error(TOO_LONG, "integer_too_long")
        return number

    def _float(self, value: float) -> float:
        number = float.__float__(value)
        if isnan(number):
            raise self._error("is NaN; JSON has finite numbers only")
        if not isfinite(number):
            name = "Infinity" if number > 0 else "-Infinity"
            flaw = f"is {name}; JSON has finite numbers only, up to 1.8e308"
            raise self._error(flaw)
        return number

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        copy = {}
        for key, each in dict.items(value):
            name = self._key(key)
            self._path.append(name)
            copy[name] = self.of(each)
            self._path.pop()
        return copy

    def _key(self, key: Any) -> str:
        kind = type(key)
        if not issubclass(kind, str) or issubclass(kind, Enum):
            flaws = (f"has a key that is {said}; {KEYS}" for said in (_shown(key), _kind(key)))
            raise self._error(next(flaws), discreet=next(flaws))
        self._path.append(str.__str__(key))
        name = self._text(key)
        self._path.pop()
        return name

    def _list(self, value: list[Any]) -> list[Any]:
        copy = []
        for at, each in enumerate(list.__iter__(value)):
            self._path.append(at)
            copy.append(self.of(each))
            self._path.pop()
        return copy

    _kinds: tuple[tuple[type, Callable[["_Copy", Any], Any]], ...] = (
        (str, _text),
        (int, _integer),
        (float, _float),
        (dict, _dict),
        (list, _list),
    )

    def _error(
        self, flaw: str, code: str = "not_storable", *, discreet: str | None = None
    ) -> NotStorable:
        error = NotStorable(flaw, what=self._what, path=path_of(self._path), code=code)
        error.names = [name for name in self._path if isinstance(name, str)]
        error.discreet = discreet
        return error


def path_of(parts: list[str | int]) -> str:
    """Write a path: `x.deep[1]["a key"].y`."""
    text = "".join(map(_part, parts)).removeprefix(".")
    return text if len(text) <= MAX_PATH else f"{text[: MAX_PATH // 2]}…{text[-MAX_PATH // 2 :]}"


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if WORD.fullmatch(part) and len(part) <= MAX_SHOWN:
        return f".{part}"
    return f"[{ascii(part) if not part.isprintable() else repr(part)}]"


def _said_of(value: object, shown: str) -> str:
    """Say what a value is that is no JSON, and what would be stored."""
    kind = type(value)
    for each, advice in ADVICE.items():
        if issubclass(kind, each):
            return f"is {shown}; {advice}"
    advice = "dataclasses.asdict() makes a dict of it" if is_dataclass(kind) else NO_JSON
    return f"is {shown}; {advice}"


KEYS = "the keys of a JSON object are texts"
NO_JSON = "JSON has objects (dict), lists, texts, numbers, true, false and null"
ADVICE: dict[type, str] = {
    Enum: "store its value",
    datetime: "store a text, as from isoformat()",
    date: "store a text, as from isoformat()",
    time: "store a text, as from isoformat()",
    timedelta: "store its total_seconds()",
    Decimal: "store str() of it, which is exact, or float()",
    UUID: "store str() of it",
    tuple: "store a list",
    set: "store a list",
    frozenset: "store a list",
    bytes: "store a text, for example as base64",
    bytearray: "store a text, for example as base64",
}
SHOWN: tuple[type, ...] = (datetime, date, time, timedelta, Decimal, UUID, int, float, bool)
"""Values whose repr is Python's own, and short."""


def _shown(value: Any) -> str:
    """Show a value, or its type where showing it would call code of a user's."""
    kind = type(value)
    if value is None:
        return "None"
    if kind in SHOWN:
        text = tried(lambda: repr(value), name_of(value))
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    if issubclass(kind, Enum):
        return f"{name_of(value)}.{tried(lambda: str(value.name), '?')}"
    return f"{len(value)} bytes" if kind in {bytes, bytearray} else _kind(value)


def _kind(value: object) -> str:
    """Name the type of a value."""
    article = "an" if name_of(value)[:1] in "aeiouAEIOU" else "a"
    return f"{article} {name_of(value)}"
