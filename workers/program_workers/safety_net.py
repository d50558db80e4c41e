"""Safety net: what goes wrong around one program is that program's failure, and nobody else's.

Everything that a worker does for one program happens inside `SafetyNet.around`: its claim, its
steps, their records, hooks. No task group that holds many programs sees an exception of one.
"""

from types import TracebackType
from typing import Literal, Self, get_args

from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.lifecycle import Fail, Failure, Outcome, Released, RetryLater
from program_service.bookkeeping.storable import storable_text
from program_service.logs import log
from program_service.plain import described, traceback_of
from program_service.telemetry import Event, Metrics
from program_workers.judgement import is_cancellation, is_for_the_worker

INTERNAL = "internal"
"""Type and code of a failure that is no job's: a bug of ours, or one of a library."""

During = Literal[
    "claim", "measure", "hand_back", "acknowledge", "run", "observe", "record", "fail", "abandon"
]
"""What is done for one program."""

OUTAGE_PAUSE_S = 1.0
"""When a step is begun again whose worker met an outage."""


class SafetyNet:
    """Catches what nobody foresaw."""

    def __init__(self, metrics: Metrics) -> None:
        """Take where it is counted."""
        self._metrics = metrics
        for during in get_args(During):
            metrics.failed_internally.labels(during)  # shown from the start

    def around(self, during: During, run_id: str) -> "Caught":
        """Let no exception out of a block but what ends its task; log and count it."""
        return Caught(self, during, run_id)

    def catch(self, during: During, run_id: str, error: BaseException) -> None:
        """Log and count an exception."""
        self._metrics.failed_internally.labels(during).inc()
        trace = traceback_of(error)
        log.error(Event.PROGRAM_FAILED_INTERNALLY, during=during, run_id=run_id, exception=trace)


class Caught:
    """A block whose exception is kept here, if it raises one."""

    __slots__ = ("_during", "_net", "_run_id", "error")

    def __init__(self, net: SafetyNet, during: During, run_id: str) -> None:
        """Begin without one."""
        self._net = net
        self._during = during
        self._run_id = run_id
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        """Enter the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keep the exception, unless it ends the task."""
        if error is None or is_for_the_worker(error):
            return False
        self.error = error
        self._net.catch(self._during, self._run_id, error)
        return True


def outcome_of(error: BaseException) -> Outcome:
    """Say what becomes of a step whose worker met an unforeseen exception.

    An outage is nobody's failure, and a cancellation that nobody asked for may pass; it counts as a
    retry, so that it does not come again without end.
    """
    if isinstance(error, DatabaseUnavailable):
        return Released(OUTAGE_PAUSE_S)
    said = described(error)
    failure = Failure(
        message=storable_text(f"{INTERNAL}: the worker failed around this step: {said}"),
        type=INTERNAL,
        code=INTERNAL,
        traceback=storable_text(traceback_of(error)),
    )
    return RetryLater(failure) if is_cancellation(error) else Fail(failure)
