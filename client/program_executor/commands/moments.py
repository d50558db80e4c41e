"""Moments: how people say when something was, and how long it took."""

import re
from datetime import UTC, datetime, timedelta

from program_executor.errors import UsageError

PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
AGO = re.compile(rf"(?:{PART.pattern}\s*)+")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
TENTHS_BELOW_S = 10


def moment(text: str, *, now: datetime) -> str:
    """Return a moment for the API, from `90m` (so long ago) or from RFC 3339.

    Raises:
        UsageError: it is neither.
    """
    if AGO.fullmatch(text):
        parts = [timedelta(**{UNITS[unit]: float(count)}) for count, unit in PART.findall(text)]
        return (now - sum(parts, timedelta())).isoformat()
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no moment: it is like 90m, 1h30m or 2d (ago), or 2027-01-31T08:00Z"
        raise UsageError(message) from error
    # without a zone people mean that of the clock on their wall
    return found.astimezone(UTC).isoformat()


def later(text: str, *, now: datetime) -> str:
    """Return a moment for the API, from `30d` (so long from now) or from RFC 3339.

    Raises:
        UsageError: it is neither.
    """
    if AGO.fullmatch(text):
        return (now + (now - datetime.fromisoformat(moment(text, now=now)))).isoformat()
    return moment(text, now=now)


def parsed(text: str) -> datetime:
    """Return a moment of the API."""
    return datetime.fromisoformat(text)


def seconds_between(start: str, end: datetime) -> float:
    """Return how much later than a moment of the API another is; 0 if clocks differ by that."""
    return max(0.0, (end - parsed(start)).total_seconds())


def age(seconds: float) -> str:
    """Write how old something is, in little space: `12s`, `28m`, `5h`, `3d`."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def duration(seconds: float) -> str:
    """Write how long something took: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 5 min`, `3 d 2 h`."""
    if seconds < TENTHS_BELOW_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, part_s, part in (
        (DAY_S, "d", HOUR_S, "h"),
        (HOUR_S, "h", MINUTE_S, "min"),
        (MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // part_s} {part}"
    return f"{whole} s"
