"""Watch: notice when the event loop stands still, and say whose job blocks it.

An async job that does not await (`time.sleep`, a long computation, a client that is not async)
holds up everything that its worker does: other jobs, wake-ups, the renewal of all leases. The loop
cannot tell, so a thread does: it hears that the loop's heart does not beat, and looks where it is.
A plain job that keeps the interpreter's lock holds up that thread, too: whose it was is seen
afterwards, by the processor time of the jobs' threads.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from program_service.bookkeeping.lifecycle import Claimed
from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_workers.job_threads import JobThreads, ThreadUse
from program_workers.lease import Held

BEAT_S = 0.1
LOOK_EVERY_S = 0.25

BLOCKED_S = 1.0
"""A loop that is silent for longer is blocked; shorter is what garbage collection and disks do."""


LEAST_CPU_S = 0.25
MOST_THREADS = 5
"""Plain jobs that are named, where it is not clear whose thread held up the loop."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whose step blocks the loop, and at which line, as far as that can be told."""

    program: Claimed | None = None
    at: str | None = None
    line: str | None = None
    threads: Sequence[str] = ()
    """The plain jobs that ran meanwhile, unless an async job is the one."""


class ListenerEnded(RuntimeError):
    """The thread that listens to the event loop has ended."""


class LoopWatch:
    """Watch the event loop that it is run in."""

    name = "loop_watch"

    def __init__(
        self, held: Callable[[], Sequence[Held]], job_threads: JobThreads, metrics: Metrics
    ) -> None:
        """Take what is being executed, to find the job that blocks, and where to count."""
        self._held = held
        self._job_threads = job_threads
        self._metrics = metrics
        self._beat_at = 0.0
        self._block: Block | None = None

    async def run(self) -> None:
        """Let the heart beat, and have a thread listen to it, for ever."""
        self._beat_at = time.monotonic()
        loop, thread_id, ended = (
            asyncio.get_running_loop(),
            threading.get_ident(),
            threading.Event(),
        )
        listener = threading.Thread(
            target=self._listen, args=(loop, thread_id, ended), name="loop-watch", daemon=True
        )
        listener.start()
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                self._beat()
                if not listener.is_alive():
                    raise ListenerEnded
        finally:
            ended.set()

    def _listen(
        self, loop: asyncio.AbstractEventLoop, thread_id: int, ended: threading.Event
    ) -> None:
        while not ended.wait(LOOK_EVERY_S):
            self._look(loop, thread_id)

    def _beat(self) -> None:
        """Measure how late the loop is, and tell of a block that is over."""
        beat_at, self._beat_at = self._beat_at, time.monotonic()
        lag_s = max(0.0, self._beat_at - beat_at - BEAT_S)
        self._metrics.loop_lag_s.observe(lag_s)
        block, self._block = self._block, None
        if lag_s > BLOCKED_S:
            # the thread saw nothing if the interpreter was held up, too
            _log_block(lag_s, block or self._block_by_a_thread(), is_over=True)
        self._job_threads.look()

    def _look(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        """Tell of a block, once while it lasts."""
        lag_s = time.monotonic() - self._beat_at - BEAT_S
        if self._block is None and lag_s > BLOCKED_S:
            program, place = self._who_runs(loop), place_of(_frame_of(thread_id))
            if program is None:
                block = self._block_by_a_thread(*place)
            else:  # a plain job may hold up its own task, while that starts the thread
                own = [use for use in self._job_threads.uses() if use.program is program]
                block = Block(program, *place, _named(own))
            self._block = block
            _log_block(lag_s, block, is_over=False)

    def _block_by_a_thread(self, at: str | None = None, line: str | None = None) -> Block:
        """Find the plain job whose thread used the processor while the loop, at `at`, stood still.

        Where none used most of it, several did, or a call into C waits and keeps the lock.
        """
        uses, process_s = self._job_threads.uses(), self._job_threads.process_s()
        if uses and uses[0].cpu_s >= max(LEAST_CPU_S, process_s / 2):
            first = uses[0]
            first.held.has_blocked = True
            at, line = place_of(_frame_of(first.thread_id))
            return Block(first.program, at, line, _named(uses))
        return Block(None, at, line, _named(uses))

    def _who_runs(self, loop: asyncio.AbstractEventLoop) -> Claimed | None:
        """Find the program whose task runs now; a task that a job made itself is nobody's."""
        running = asyncio.current_task(loop)
        for held in self._held():
            if running is not None and held.task is running:
                held.has_blocked = True
                return held.program
        return None


def _named(uses: Sequence[ThreadUse]) -> list[str]:
    return [
        f"{use.program.job} of {use.program.run_id}: {use.cpu_s:.2f} s of the processor"
        for use in uses[:MOST_THREADS]
    ]


def _log_block(seconds: float, block: Block, *, is_over: bool) -> None:
    program = block.program
    log.warning(
        Event.LOOP_BLOCKED,
        seconds=round(seconds, 3),
        is_over=is_over,
        run_id=program.run_id if program else None,
        job=program.job if program else None,
        step=program.step if program else None,
        at=block.at,
        line=block.line,
        threads=list(block.threads),
    )


def _frame_of(thread_id: int | None) -> FrameType | None:
    # public, and documented; named so because it is meant for debuggers
    return None if thread_id is None else sys._current_frames().get(thread_id)  # noqa: SLF001


def place_of(frame: FrameType | None) -> tuple[str | None, str | None]:
    """Say at which line a thread is, and what stands there."""
    if frame is None:
        return None, None
    (last,) = traceback.extract_stack(frame, limit=1)
    return f"{last.filename}:{last.lineno} in {last.name}", last.line
