"""Failures: what went wrong with a server's command, in words that say what to do next."""

from pydantic import ValidationError

from program_executor.configuring import explained, place
from program_executor.diagnosis import of_database
from program_executor.errors import CommandError, UnreachableError, UsageError
from program_service.bookkeeping.errors import (
    DatabaseUnavailable,
    NotAdoptable,
    StatementRejected,
)
from program_service.bookkeeping.trouble import is_of_url
from program_service.settings import PREFIX
from program_service.toml_files import BadFile
from program_service.tracing.switch import NoOpenTelemetry
from program_service.webhooks.errors import BadWebhookSetting
from program_workers.errors import LibraryError


def explain(error: Exception) -> CommandError | None:
    """Say what the user can repair; None for a bug of ours."""
    match error:
        case LibraryError() | NotAdoptable() | BadFile() | BadWebhookSetting() | NoOpenTelemetry():
            return UsageError(str(error))
        case TimeoutError():
            return UnreachableError(str(error) or "it took too long")
        case FileNotFoundError() | PermissionError() | IsADirectoryError() | NotADirectoryError():
            return UsageError(_of_the_system(error))
        case ValidationError():
            return UsageError(explained(error))
        case DatabaseUnavailable():
            return _of_the_database(error)
        case _:
            return None


def _of_the_database(error: DatabaseUnavailable) -> CommandError:
    if is_of_url(error):
        return UsageError(f"{place('database_url')}: {of_database(error)}")
    if isinstance(error, StatementRejected):  # it does run
        return UnreachableError(str(error))
    words = str(error).rstrip(".")
    text = f"{words}. Look at {PREFIX}DATABASE_URL, and whether the database runs."
    return UnreachableError(text)


def _of_the_system(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}"
