"""Lines: what was logged, as tests look at it."""

from typing import Any

Lines = list[dict[str, Any]]


def of_event(lines: Lines, event: str) -> Lines:
    """Return the lines of one event."""
    return [line for line in lines if line["event"] == event]


async def logged(lines: Lines, event: str) -> Lines:
    """Return the lines of one event, to be waited for."""
    return of_event(lines, event)
