"""Complaints: what a database does not do for us, logged now and then, and shown to the probes."""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from program_service.bookkeeping.errors import (
    BookkeepingError,
    DatabaseUnavailable,
    StatementRejected,
)
from program_service.logs import log
from program_service.telemetry import Event

AGAIN_AFTER_S = 10.0
"""When the same complaint is logged again, while it lasts."""

OUTAGE_AFTER_S = 3.0
"""When an outage is logged in which nobody gives up; a deadlock is over long before."""

REJECTED_FOR_S = 300.0
"""How long a rejection is shown if nobody tries the same again."""

Work: TypeAlias = Callable[..., Any]
"""A function of the ledger."""


class Complaints:
    """What the database does not do for us now."""

    def __init__(self) -> None:
        """Begin without any."""
        self._rejected: dict[str, tuple[float, str]] = {}
        """{what was being done: when, in monotonic time, and the database's words}"""
        self._logged_at: dict[str, float] = {}

    @property
    def rejected(self) -> str | None:
        """What the database said of a statement that it still rejects, if there is one."""
        since = time.monotonic() - REJECTED_FOR_S
        return next((words for at, words in self._rejected.values() if at >= since), None)

    def note(self, work: Work, error: DatabaseUnavailable, *, failing_s: float = 0.0) -> None:
        """Note that `work` failed, and log what nobody else does."""
        during, words = _name_of(work), str(error)
        is_rejected = isinstance(error, StatementRejected)
        if is_rejected:
            self._rejected[during] = (time.monotonic(), words)
        if not self._is_due(during) or not (is_rejected or failing_s >= OUTAGE_AFTER_S):
            return
        self._logged_at[during] = time.monotonic()
        if is_rejected:
            log.error(Event.DATABASE_REJECTS, during=during, error_message=words)
        else:
            log.warning(Event.DATABASE_UNAVAILABLE, during=during, error_message=words)

    def note_locked(self, during: str, run_id: str, *, seconds: float) -> None:
        """Note that another session has held the lock on a program's row for so long."""
        if self._is_due(during):
            self._logged_at[during] = time.monotonic()
            log.warning(Event.ROW_LOCKED, during=during, run_id=run_id, seconds=round(seconds, 1))

    def note_refused(self, during: str, run_id: str, error: BookkeepingError) -> None:
        """Note that the database refuses to have a program's row changed."""
        if self._is_due(during):
            self._logged_at[during] = time.monotonic()
            words = str(error)
            log.error(Event.ROW_REFUSED, during=during, run_id=run_id, error_message=words)

    def forget(self, work: Work) -> None:
        """Note that `work` succeeded."""
        if self._rejected:
            self._rejected.pop(_name_of(work), None)

    def _is_due(self, during: str) -> bool:
        """Whether this was not logged a moment ago."""
        logged_at = self._logged_at.get(during, float("-inf"))
        return time.monotonic() - logged_at >= AGAIN_AFTER_S


def _name_of(work: Work) -> str:
    return getattr(work, "__name__", type(work).__name__)
