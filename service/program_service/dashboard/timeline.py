"""Timeline: split a program's life into waiting, running and backing off, from its attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from program_service.bookkeeping.ledger.reading import Attempt, Program
from program_service.bookkeeping.lifecycle import Status


class Phase(StrEnum):
    """What a program was doing for a while."""

    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    AWAITING = "awaiting completion"


PHASE_AFTER = {"retry": Phase.BACKING_OFF, "accepted": Phase.AWAITING}
PHASE_NOW = {
    Status.RUNNING: Phase.RUNNING,
    Status.WAITING: Phase.AWAITING,
    Status.RETRYING: Phase.BACKING_OFF,
    Status.SCHEDULED: Phase.SCHEDULED,
    Status.PENDING: Phase.WAITING,
}


@dataclass(frozen=True, slots=True)
class Span:
    """A while in which a program did one thing; `outcome` is that of a try that ended."""

    phase: Phase
    begin: datetime
    end: datetime
    step: int
    job: str
    outcome: str | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.begin).total_seconds()


def timeline(
    program: Program, attempts: Sequence[Attempt], *, now: datetime, is_whole: bool = True
) -> list[Span]:
    """Return the spans of a program's life in their order, the last up to now if it goes on.

    Where there were tries before these, it begins with the first of these.
    """
    spans: list[Span] = []
    since, phase = program.created_at, Phase.WAITING
    if attempts and not is_whole:
        since = attempts[0].started_at or attempts[0].finished_at
    for attempt in attempts:
        begin = attempt.started_at or since
        if begin > since:
            spans.append(Span(phase, since, begin, attempt.step, attempt.job))
        end = max(begin, attempt.finished_at)
        spans.append(Span(Phase.RUNNING, begin, end, attempt.step, attempt.job, attempt.outcome))
        since, phase = end, PHASE_AFTER.get(attempt.outcome, Phase.WAITING)
    end = program.finished_at or program.errored_at or now
    if end > since:
        last = phase if program.status.is_final else PHASE_NOW[program.status]
        spans.append(Span(last, since, end, program.step, program.job))
    return spans


def totals(spans: Sequence[Span]) -> dict[Phase, float]:
    """Return {phase: seconds}, of what there was."""
    sums: dict[Phase, float] = {}
    for span in spans:
        sums[span.phase] = sums.get(span.phase, 0.0) + span.seconds
    return sums
