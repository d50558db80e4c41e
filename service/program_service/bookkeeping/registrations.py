"""Registrations: read jobs and workers that another release, or a person, may have written.

A newer release adds fields, which are ignored; a person may write anything. What cannot be read is
left out by itself, and the log names it: one row must not hide the others.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from program_service.logs import log
from program_service.telemetry import Event

T = TypeVar("T")

MAX_NAMED = 1_000
"""Different flaws that a process logs; the same one is met every few seconds, and logged once."""

_named: set[tuple[str, str, str]] = set()


def read_each(what: str, rows: Iterable[Any], read: Callable[[Any], T]) -> list[T]:
    """Read rows that have a `name` one by one, without those that cannot be read."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except (ValueError, TypeError) as error:
            name_flaw(what, str(row.name), flaw_of(error))
    return found


def name_flaw(what: str, name: str, flaw: str) -> None:
    """Log, once, what is wrong with a row: `what` says of which kind it is."""
    if (what, name, flaw) not in _named and len(_named) < MAX_NAMED:
        _named.add((what, name, flaw))
        log.warning(Event.ROW_UNREADABLE, what=what, row=name, error_message=flaw)


def flaw_of(error: Exception) -> str:
    """Say in one line what is wrong with what was read."""
    if not isinstance(error, ValidationError):
        return str(error)
    # values are left out: they may be secrets
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()
    )
