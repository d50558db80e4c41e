"""What a job raises to say what shall become of its program, and what stops a job.

Exception
├── JobError
│   ├── RetryableError     the same step again, later
│   └── IgnorableError     the program ends errored, as information and not as an alarm
└── LibraryError           the job library cannot be used as it is
BaseException
└── StopStep               raised inside a job, not for it to catch
    ├── CheckpointReached  the job has stored its progress and goes on later
    └── LeaseLost          the program ended or is another worker's now
"""

from datetime import timedelta
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class JobError(Exception):
    """The job could not do its work."""

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        """Take a message for people and a code for programs."""
        super().__init__(message or type(self).__doc__)
        self.code = code


class RetryableError(JobError):
    """The job failed in a way that may pass."""

    retryable = True

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        after: timedelta | float | None = None,
    ) -> None:
        """Take also the least delay, as a timedelta or in seconds."""
        super().__init__(message, code=code)
        self.after = timedelta(seconds=after) if isinstance(after, int | float) else after

    @staticmethod
    def decorate(error: E) -> E:
        """Mark any exception as retryable, and return it to be raised."""
        object.__setattr__(error, "retryable", True)  # also of a frozen dataclass
        return error


class IgnorableError(JobError):
    """The program cannot go on, and nobody needs to be called for it."""

    ignorable = True

    @staticmethod
    def decorate(error: E) -> E:
        """Mark any exception as ignorable, and return it to be raised."""
        object.__setattr__(error, "ignorable", True)  # also of a frozen dataclass
        return error


class LibraryError(Exception):
    """The job library cannot be used as it is."""


class StopStep(BaseException):
    """The step ends here; like asyncio's CancelledError, it is not for jobs to catch."""


class CheckpointReached(StopStep):
    """The step has used up its time; its program goes on later, from what was stored."""


class LeaseLost(StopStep):
    """The program has ended or is another worker's now; nothing more is recorded."""
