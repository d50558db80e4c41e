"""Words: moments, durations, addresses and JSON as people read them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


NOTHING = "-"

UNITS = (
    (2 * DAY_S, DAY_S, "days"),
    (2 * HOUR_S, HOUR_S, "h"),
    (2 * MINUTE_S, MINUTE_S, "min"),
    (10, 1, "s"),
)
"""From so many seconds on, a unit of so many."""


def duration(seconds: float | None) -> str:
    """Write a duration in seconds in its largest fitting unit: `350 ms`, `2.5 s`, `4 min`."""
    if seconds is None:
        return NOTHING
    for least, unit_s, unit in UNITS:
        if seconds >= least:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def since(moment: datetime, now: datetime) -> str:
    """Say how long ago a moment was, or how far it is ahead."""
    seconds = (now - moment).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def moment(value: datetime) -> str:
    """Write a moment as people read it, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def time_tag(value: datetime | None, now: datetime | None = None) -> Markup:
    """Show a moment by its distance, or, without a `now`, by itself; the other is the title."""
    if value is None:
        return Markup("-")
    exact = f"{moment(value)} UTC"
    shown = exact if now is None else since(value, now)
    machine = value.astimezone(UTC).isoformat()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, exact, shown)


def number(value: float) -> str:
    """Write a number with its thousands apart."""
    return f"{value:,.0f}"


def percent(part: float) -> str:
    """Write a share, so that what is not all never looks like all."""
    if 0 < part < 1:
        return f"{min(99.9, max(0.1, part * 100)):.1f} %"
    return f"{part * 100:.0f} %"


def segment(text: str) -> str:
    """Write a name as one segment of a path."""
    return quote(text, safe="")


def query(values: Mapping[str, Any]) -> str:
    """Write the query of an address."""
    return urlencode(values, doseq=True)


def as_json(value: object) -> str:
    """Write JSON that people read."""
    return json.dumps(value, ensure_ascii=False, indent=2)


FILTERS: dict[str, Callable[..., Any]] = {
    "duration": duration,
    "time_tag": time_tag,
    "number": number,
    "percent": percent,
    "segment": segment,
    "query": query,
    "as_json": as_json,
}
