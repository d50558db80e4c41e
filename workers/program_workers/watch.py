"""Watch: notice when the event loop stands still, and say whose job blocks it.

An async job that does not await (`time.sleep`, a long computation, a client that is not async)
holds up everything that its worker does: other jobs, wake-ups, the renewal of all leases. The loop
cannot tell, so a thread does: it hears that the loop's heart does not beat, and looks where it is.

The thread only tells. It renews no lease, neither that of the job that blocks nor those of its
neighbours: who can neither stop a job nor record what it did must not keep a program from those who
can, and a loop that never came back would keep all of them for ever. So others take over when the
leases end, and what the blocked worker brings later is refused by the fence.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import structlog

from program_service.telemetry import Event, Metrics
from program_workers.lease import Held

log = structlog.get_logger()

BEAT_S = 0.1
LOOK_EVERY_S = 0.25

BLOCKED_S = 1.0
"""A loop that is silent for longer is blocked; shorter is what garbage collection and disks do."""


NOBODY: dict[str, Any] = {"run_id": None, "job": None, "step": None}


class LoopWatch:
    """Watch the event loop that it is run in."""

    def __init__(self, held: Callable[[], Sequence[Held]], metrics: Metrics) -> None:
        """Take what is being executed, to find the job that blocks, and where to count."""
        self._held = held
        self._metrics = metrics
        self._beat_at = 0.0
        self._ended = threading.Event()
        self._reason: dict[str, Any] | None = None

    async def run(self) -> None:
        """Let the heart beat, and have a thread listen to it, for ever."""
        self._beat_at = time.monotonic()
        loop, thread_id = asyncio.get_running_loop(), threading.get_ident()
        listener = threading.Thread(
            target=self._listen, args=(loop, thread_id), name="loop-watch", daemon=True
        )
        listener.start()
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                self._beat()
        finally:
            self._ended.set()

    def _listen(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._look(loop, thread_id)

    def _beat(self) -> None:
        """Measure how late the loop is, and tell of a block that is over."""
        beat_at, self._beat_at = self._beat_at, time.monotonic()
        lag_s = max(0.0, self._beat_at - beat_at - BEAT_S)
        self._metrics.loop_lag_s.observe(lag_s)
        reason, self._reason = self._reason, None
        if lag_s > BLOCKED_S:
            # the thread saw nothing if the interpreter was held up, too
            _tell(lag_s, reason or NOBODY, is_over=True)

    def _look(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        """Tell of a block, once while it lasts."""
        lag_s = time.monotonic() - self._beat_at - BEAT_S
        if self._reason is None and lag_s > BLOCKED_S:
            # public, and documented; named so because it is meant for debuggers
            frame = sys._current_frames().get(thread_id)  # noqa: SLF001
            self._reason = reason = self._who_runs(loop) | _where(frame)
            _tell(lag_s, reason, is_over=False)

    def _who_runs(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Name the step whose task runs now; a task that a job made itself is nobody's."""
        running = asyncio.current_task(loop)
        for held in self._held():
            if running is not None and held.task is running:
                program, held.has_blocked = held.program, True
                return {"run_id": program.run_id, "job": program.job, "step": program.step}
        return NOBODY


def _tell(seconds: float, reason: Mapping[str, Any], *, is_over: bool) -> None:
    log.warning(Event.LOOP_BLOCKED, seconds=round(seconds, 3), is_over=is_over, **reason)


def _where(frame: FrameType | None) -> dict[str, str | None]:
    """Say at which line a thread is."""
    if frame is None:
        return {"at": None, "line": None}
    (last,) = traceback.extract_stack(frame, limit=1)
    return {"at": f"{last.filename}:{last.lineno} in {last.name}", "line": last.line}
