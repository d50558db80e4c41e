"""Plain: what can be told of any object, whatever it does when it is asked.

Exceptions, log lines and results come from people's code. A text may raise, an attribute may exit
the process, a metaclass may deny its name, and a structure may hold itself.
"""

import traceback
from collections.abc import Callable
from enum import Enum
from functools import partial
from itertools import islice
from math import isfinite
from types import TracebackType
from typing import Any, TypeVar

from program_service.texts import MAX_TEXT_BYTES, cut

T = TypeVar("T")
D = TypeVar("D")

MAX_FRAMES = 500
"""The innermost calls of a traceback that are kept: Python's own limit is 1,000, but a job may
raise it to a million, whose text would hold up the process for seconds."""

MAX_TEXT = MAX_TEXT_BYTES
"""Characters of the texts of one value in a log line."""

MAX_NODES = 2_000
MAX_DEPTH = 50
"""How much of a structure is shown in a log line. One of 60 lists that each hold the last one twice
would be written for ever."""

SCALARS = frozenset({str, int, float, bool, type(None)})

SMALLEST, BIGGEST = -(2**63), 2**63 - 1
"""The integers that readers of JSON agree about: those of 64 bits."""

CUT = "[…]"


def tried(ask: Callable[[], T], otherwise: D) -> T | D:
    """Ask what somebody else's object says, or say something else when it raises."""
    try:
        return ask()
    except BaseException:  # noqa: BLE001 - a __str__, property or metaclass of a user's
        return otherwise


def name_of(value: object) -> str:
    """Return the name of the class of a value."""
    # by the descriptor of `type`: a metaclass may say something else, or nothing
    return str(type.__dict__["__qualname__"].__get__(type(value)))


def text_of(value: object) -> str:
    """Return the text of a value, also of one that cannot say it."""
    # joined, for a subclass of str could refuse what is done with texts next
    return tried(lambda: "".join(["", str(value)]), f"<{name_of(value)} without a text>")


def described(error: BaseException) -> str:
    """Return an exception's type and text, as the last line of a traceback says them."""
    return f"{name_of(error)}: {text_of(error)}".removesuffix(": ")


def traceback_of(error: BaseException) -> str:
    """Return the traceback; of what cannot be formatted, just where it was raised."""
    frames = _innermost(BaseException.__dict__["__traceback__"].__get__(error))
    whole = partial(traceback.format_exception, type(error), error, frames, limit=-MAX_FRAMES)
    if lines := tried(whole, None):
        return "".join(lines)
    lines = tried(partial(traceback.format_tb, frames), [])
    return "".join([*lines, f"{name_of(error)}, which cannot be told\n"])


def _innermost(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the outermost calls of too many: `limit` looks at each of them, at 8 us."""
    excess, at = -MAX_FRAMES, frames
    while at is not None:
        excess, at = excess + 1, at.tb_next
    while excess > 0 and frames is not None:
        excess, frames = excess - 1, frames.tb_next
    return frames


def is_plain(value: object, *, most: int = MAX_NODES, longest: float = MAX_TEXT) -> bool:
    """Say whether a value is JSON of Python's own types, of so many parts and characters at most.

    Nothing of a user's is asked for it. A value that is not plain is not for orjson, which takes
    the whole process down when the `value` of an Enum, a time zone or a list of a user's raises.
    """
    parts, characters, level = 0, 0, [value]
    while level:
        parts += len(level)
        if parts > most or characters > longest:
            return False
        inside: list[object] = []
        for each in level:
            kind = type(each)
            if kind is str:
                characters += len(each)  # type: ignore[arg-type]
            elif kind is dict:
                inside += each.values()  # type: ignore[attr-defined]
                keys = [key for key in each if type(key) is str]  # type: ignore[attr-defined]
                characters += sum(map(len, keys))
            elif kind is list or kind is tuple:
                inside += each  # type: ignore[arg-type]
            elif kind not in SCALARS:
                return False
        level = inside
    return characters <= longest


def plain(value: object) -> Any:
    """Return something like a value that every writer of JSON takes, of bounded size."""
    return _Plain().of(value, 0)


class _Plain:
    """One walk through a value."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._left = MAX_NODES
        self._characters = MAX_TEXT

    def of(self, value: Any, depth: int) -> Any:
        """Return a value at some depth."""
        kind, self._left = type(value), self._left - 1
        if self._left <= 0 or depth > MAX_DEPTH:
            return CUT
        if issubclass(kind, Enum):
            return self.of(tried(lambda: value.value, name_of(value)), depth + 1)
        if issubclass(kind, dict):
            return self._dict(value, depth)
        if issubclass(kind, list | tuple | set | frozenset):
            return self._list(value, depth)
        if value is None or kind is bool or (kind is float and isfinite(value)):
            return value
        return _integer(value) if kind is int else self._cut(clean(text_of(_text(value))))

    def _cut(self, text: str) -> str:
        self._characters -= len(text)
        return text if self._characters > 0 else CUT

    def _dict(self, value: Any, depth: int) -> dict[str, Any]:
        items = tried(lambda: list(islice(dict.items(value), self._left)), [])
        return {
            self._cut(clean(text_of(_text(key)))): self.of(each, depth + 1) for key, each in items
        }

    def _list(self, value: Any, depth: int) -> list[Any]:
        items = tried(lambda: list(islice(value, self._left)), [])
        return [self.of(each, depth + 1) for each in items]


def _integer(value: Any) -> int | str:
    if SMALLEST <= value <= BIGGEST:
        return int(value)
    return tried(lambda: str(value), f"an integer of {value.bit_length()} bits")


def _text(value: object) -> object:
    """Return what bytes look like as a text, what a text really holds, and anything else as is."""
    if issubclass(type(value), str):
        return str.__str__(value)
    if type(value) in {bytes, bytearray}:
        return value.decode("utf-8", "backslashreplace")  # type: ignore[attr-defined]
    return value


def clean(text: str) -> str:
    """Return a text that has an encoding, not too long; halves of surrogate pairs are escaped."""
    return cut(text).encode("utf-8", "backslashreplace").decode()
