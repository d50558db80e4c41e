"""Failures: what went wrong with a command, in words that say what to do next."""

import httpx
from pydantic import ValidationError

from program_executor.exchange import ProblemError
from program_executor.processes import UsageError
from program_service.bookkeeping.errors import DatabaseUnavailable, NotAdoptable
from program_service.settings import PREFIX
from program_service.tracing.switch import NoOpenTelemetry
from program_service.webhooks.errors import BadWebhookSetting
from program_workers.errors import LibraryError


def explain(error: Exception) -> str | None:  # noqa: PLR0911 - a table of errors
    """Say what the user can repair; None for a bug of ours."""
    match error:
        case (
            UsageError()
            | LibraryError()
            | NotAdoptable()
            | BadWebhookSetting()
            | NoOpenTelemetry()
            | FileNotFoundError()
        ):
            return str(error)
        case ProblemError():
            hints = [item["hint"] for item in error.problem.get("errors", ()) if "hint" in item]
            return "; ".join([str(error), *hints])
        case ValidationError():
            return "; ".join(_setting(item["loc"], item["msg"]) for item in error.errors())
        case DatabaseUnavailable():
            return f"{error} Look at {PREFIX}DATABASE_URL, and whether the database runs."
        case httpx.ConnectError():
            return (
                f"nothing answers at {error.request.url.copy_with(path='/')}: start a service with"
                " `program-executor dev`, or name another with --url"
            )
        case httpx.TransportError():
            return f"the service did not answer: {type(error).__name__}"
        case TimeoutError():
            return str(error) or "it took too long"
        case _:
            return None


def _setting(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, location))
    return f"{PREFIX}{name.upper()}: {message.removeprefix('Value error, ')}"
