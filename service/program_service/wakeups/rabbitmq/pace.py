"""Pace: when a process may try to connect again; all of its connections share one."""

import time

from program_service.bookkeeping.retry import draw
from program_service.wakeups.rabbitmq.driver.errors import Paused

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0

SCATTER_S = 0.5
"""After a connection was lost: all processes lose theirs at a time, and come back one by one."""


class Pace:
    """Pauses between attempts to connect: longer after each failure, and never the same."""

    def __init__(self, *, longest_s: float = LONGEST_PAUSE_S) -> None:
        """Begin without a pause."""
        self._longest_s = longest_s
        self._pause_s = FIRST_PAUSE_S
        self._until = 0.0

    @property
    def pause_s(self) -> float:
        """How long nothing is tried from now on."""
        return max(0.0, self._until - time.monotonic())

    def require(self) -> None:
        """Go on, unless there is a pause.

        Raises:
            Paused: there is.
        """
        if self.pause_s > 0:
            msg = f"RabbitMQ could not be reached; it is tried again in {self.pause_s:.1f} s"
            raise Paused(msg)

    def failed(self, *, at: float) -> None:
        """Pause from this moment on, for longer than the last time."""
        self._until = at + self._pause_s * (0.5 + draw() / 2)
        self._pause_s = min(self._longest_s, self._pause_s * 2)

    def lost(self, *, at: float) -> None:
        """Pause for a moment, after a connection that had worked."""
        self._pause_s = FIRST_PAUSE_S
        self._until = at + SCATTER_S * draw()
