"""Job threads: which plain job runs in which thread, and how much processor time it takes.

A call into C that does not release the interpreter's lock (a regular expression that backtracks, a
`sum` over a long range, some extensions) holds up the event loop, and the thread that watches it.
What can be seen afterwards is whose thread used the processor meanwhile.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from program_service.bookkeeping.lifecycle import Claimed
from program_workers.lease import Held

MOST_ENDED = 64
"""Jobs that ended between two looks and are remembered; more are too short to hold anything up."""


@dataclass(frozen=True, slots=True)
class ThreadUse:
    """The processor time that a plain job took since the last look, and its thread if it runs."""

    held: Held
    program: Claimed
    cpu_s: float
    thread_id: int | None


class _Run:
    """A plain job in its thread."""

    def __init__(self, held: Held) -> None:
        """Begin in the current thread."""
        self.held = held
        self.program = held.program
        self.thread_id = threading.get_ident()
        self._clock: int | None = None
        if sys.platform == "linux":  # macOS has no such clock
            self._clock = time.pthread_getcpuclockid(self.thread_id)
        self._seen_s = self._cpu_s()

    def use(self, *, is_over: bool = False) -> ThreadUse:
        """Return what it has used since the last look."""
        used_s = self._cpu_s() - self._seen_s
        return ThreadUse(self.held, self.program, used_s, None if is_over else self.thread_id)

    def see(self) -> None:
        """Count from now on."""
        self._seen_s = self._cpu_s()

    def _cpu_s(self) -> float:
        with suppress(OSError):  # the thread ended just now
            if self._clock is not None:
                return time.clock_gettime(self._clock)
        return 0.0


class JobThreads:
    """The plain jobs that run in threads of a worker."""

    def __init__(self) -> None:
        """Begin with none."""
        self._runs: dict[int, _Run] = {}
        self._ended: deque[ThreadUse] = deque(maxlen=MOST_ENDED)
        self._process_s = time.process_time()

    @contextmanager
    def running(self, held: Held) -> Generator[None]:
        """Note that the current thread runs a job's step meanwhile."""
        run = _Run(held)
        self._runs[run.thread_id] = run
        try:
            yield
        finally:
            # in this order: whoever looks in between sees it
            self._ended.append(run.use(is_over=True))
            del self._runs[run.thread_id]

    def uses(self) -> list[ThreadUse]:
        """Return what each job has used since the last look, the most first."""
        uses = [run.use() for run in list(self._runs.values())]
        return sorted([*uses, *self._ended], key=lambda use: use.cpu_s, reverse=True)

    def process_s(self) -> float:
        """Return the processor time of the whole process since the last look."""
        return time.process_time() - self._process_s

    def look(self) -> None:
        """Count from now on."""
        for run in list(self._runs.values()):
            run.see()
        self._ended.clear()
        self._process_s = time.process_time()
