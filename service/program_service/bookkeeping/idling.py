"""Idling: whether a transaction did nothing for so long that the database ended it.

The driver only says that the connection is gone, as after a crash of the server.
"""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection


class Idling:
    """How long a connection had been idle when its last statement began."""

    def __init__(self, limit_s: float) -> None:
        """Take when the database ends a transaction that is idle."""
        self._limit_s = limit_s
        self._idle_since = time.monotonic()
        self._seconds = 0.0

    def watch(self, connection: AsyncConnection) -> None:
        """Watch a connection from now on."""
        assert connection.sync_connection is not None
        self._idle_since = time.monotonic()
        sa.event.listen(connection.sync_connection, "before_cursor_execute", self._begin)
        sa.event.listen(connection.sync_connection, "after_cursor_execute", self._end)

    @property
    def was_too_long(self) -> bool:
        """Whether the database has ended the transaction before its last statement began."""
        return self._seconds >= self._limit_s

    @property
    def words(self) -> str:
        """Say it."""
        return (
            f"the transaction did nothing for {self._seconds:.0f} s, and the database ends one"
            f" that is idle for {self._limit_s:.0f} s"
        )

    def _begin(self, *_told: Any) -> None:
        self._seconds = time.monotonic() - self._idle_since

    def _end(self, *_told: Any) -> None:
        self._idle_since = time.monotonic()
