"""The errors of the bookkeeping, as a tree; a docstring is the default message.

BookkeepingError
├── ProgramNotFound
├── AlreadyFinal
├── NotResumable
├── StaleStep
├── JobNotFound
├── JobsNotRegistered
├── JobNeeded
├── JobInProcess
├── TooManyTokenKeys
├── IdempotencyMismatch
├── NotAdoptable
├── NotCommitted
├── NoTransactions
├── NotBorrowable
├── RowUnreadable
├── JobDataTooLarge
├── KeyNotFound
├── SessionNotFound
├── TooManyKeys
├── DatabaseUnavailable
│   ├── StatementRejected
│   ├── RowLocked
│   └── Stopping
└── BatchRefused

A `DatabaseUnavailable` of any kind may be tried again: nothing is wrong with what was written.
"""


class BookkeepingError(Exception):
    """The bookkeeping refused."""

    def __init__(self, message: str | None = None) -> None:
        """Take the class's docstring when no message is given."""
        super().__init__(message or type(self).__doc__)


class ProgramNotFound(BookkeepingError):
    """No program has this run_id."""


class AlreadyFinal(BookkeepingError):
    """The program has already ended."""


class NotResumable(BookkeepingError):
    """Only an errored or cancelled program can be resumed."""


class StaleStep(BookkeepingError):
    """The step that this callback is for has moved on, or its program has ended."""


class JobNotFound(BookkeepingError):
    """Nobody ever registered this job."""


class JobsNotRegistered(BookkeepingError):
    """A program has jobs that are registered nowhere."""


class JobNeeded(BookkeepingError):
    """Programs have yet to run this job."""


class JobInProcess(BookkeepingError):
    """Live workers run a function of this name."""


class TooManyTokenKeys(BookkeepingError):
    """So many token keys are valid that another one is not made."""


class IdempotencyMismatch(BookkeepingError):
    """This Idempotency-Key was used before with another body."""


class NotAdoptable(BookkeepingError):
    """The table is not one of the Node library that could be adopted."""


class NotCommitted(BookkeepingError):
    """The transaction of the job was not committed."""


class NoTransactions(BookkeepingError):
    """Jobs can have transactions on PostgreSQL and MariaDB, not on SQLite, which has one writer."""


class NotBorrowable(BookkeepingError):
    """Programs can be submitted in transactions of PostgreSQL and MariaDB, not of SQLite."""


class RowUnreadable(BookkeepingError):
    """The row of the program cannot be read."""


class JobDataTooLarge(BookkeepingError):
    """The job data of the program would be too long."""

    code = "job_data_too_large"
    """Of the attempt whose job wanted to store them."""


class KeyNotFound(BookkeepingError):
    """No key has this id."""


class SessionNotFound(BookkeepingError):
    """No session has this id."""


class TooManyKeys(BookkeepingError):
    """There are as many keys as a service may have."""


class DatabaseUnavailable(BookkeepingError):
    """The database does not answer."""

    def __init__(self, message: str | None = None, *, is_of_one_row: bool = False) -> None:
        """Say whether one item of a batch may have caused it, so that the others can go ahead.

        A function in the database raised it then: a user's trigger perhaps.
        """
        super().__init__(message)
        self.is_of_one_row = is_of_one_row


class StatementRejected(DatabaseUnavailable):
    """The database rejects a statement because of a missing privilege or table, or a bug."""


class RowLocked(DatabaseUnavailable):
    """Another session holds a lock on a row, or a statement took too long."""

    def __init__(self, message: str | None = None) -> None:
        """Say that others can go ahead."""
        super().__init__(message, is_of_one_row=True)


class Stopping(DatabaseUnavailable):
    """This process is stopping."""


class BatchRefused(BookkeepingError):
    """The database refused what it was asked to store."""
