"""Repeats: steps that are begun again without an attempt being counted, bounded while they recur.

A checkpoint that stores something new, or a lease that is lost once, costs the step nothing. If the
same happens again and again in one step, it would never end: the pauses grow, and from the eleventh
time on it counts, as a failed attempt or as a lost lease.
"""

from program_service.bookkeeping.lifecycle import (
    Claimed,
    Failure,
    Outcome,
    Released,
    RetryLater,
    Yielded,
)
from program_service.bookkeeping.setbacks import InARow
from program_service.logs import log
from program_service.telemetry import Event
from program_workers.lease import Held, StopReason

FREE = 10
"""How often in a row a step is begun again for nothing."""

LONGEST_PAUSE_S = 60.0

NO_PROGRESS, LEASE_LOST = "no_progress", "lease_lost"


class Repeats:
    """How often each step was begun again in a row, by this process."""

    def __init__(self) -> None:
        """Begin without any."""
        self._in_a_row = InARow()

    def bounded(self, program: Claimed, outcome: Outcome, held: Held) -> Outcome | None:
        """Return what is recorded of a step; None if its lease is left to lapse, which counts."""
        match outcome:
            case Yielded() if not _has_progressed(program, held):
                times = self._again(program, NO_PROGRESS)
                if times <= FREE:
                    return Yielded(_pause_s(times))
                message = (
                    f"job {program.job!r} asked {times} times in a row to continue later, and its"
                    " checkpoints stored nothing new"
                )
                return RetryLater(Failure(message, type=NO_PROGRESS, code=NO_PROGRESS))
            case Released() if held.stop_reason is StopReason.LEASE_LOST:
                times = self._again(program, LEASE_LOST)
                return Released(_pause_s(times)) if times <= FREE else None
            case _:
                self._in_a_row.forget(program)
                return outcome

    def _again(self, program: Claimed, what: str) -> int:
        times = self._in_a_row.add(program)
        log.warning(
            Event.STEP_REPEATED,
            run_id=program.run_id,
            job=program.job,
            step=program.step,
            what=what,
            times=times,
        )
        return times


def _has_progressed(program: Claimed, held: Held) -> bool:
    """Say whether a step leaves other job data than it found."""
    return held.program.job_data.get(program.job) != program.job_data.get(program.job)


def _pause_s(times: int) -> float:
    """Return how long a step waits that was begun again so often: 0, 1, 2, 4, … seconds."""
    return 0.0 if times == 1 else min(LONGEST_PAUSE_S, 2.0 ** (times - 2))
