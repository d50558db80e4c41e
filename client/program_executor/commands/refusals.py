"""Refusals: what a service that refuses, or does not answer, means, and what to do next."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from program_executor.errors import RefusedError, UnreachableError
from program_executor.exchange import ProblemError

if TYPE_CHECKING:
    from program_executor.commands.asking import Service


def unreachable(error: httpx.TransportError, service: "Service") -> UnreachableError:
    """Say what to do when no answer comes."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        text = (
            f"nothing answers at {service.url} ({_reason(error)}): start a service there with"
            " `program-executor dev` or `serve`, or name another with --url,"
            " PROGRAM_EXECUTOR_URL or --profile"
        )
    else:
        text = (
            f"{service.url} did not answer ({_reason(error)}): try again; whether the call was"
            " heard, `program-executor list` and `show` tell"
        )
    return UnreachableError(text)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def refused(error: ProblemError, service: "Service") -> RefusedError:
    """Say what to do about a refusal."""
    if "code" not in error.problem:
        text = (
            f"{service.url} answered {error.status}, but not as Program Executor does:"
            f" is that its address?"
        )
        return RefusedError(text)
    advice = ADVICE.get(error.code)
    parts = [str(error), *_hints(error), advice(service) if advice else ""]
    return RefusedError(" ".join(_sentence(part) for part in parts if part))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _hints(error: ProblemError) -> list[str]:
    fields = error.problem.get("errors", ())
    return [f"{each['field']}: {each['hint']}" for each in fields if "hint" in each]


def _key_is_wanted(service: "Service") -> str:
    if service.key is None:
        return (
            f"Give a key of {service.url} with --key or PROGRAM_EXECUTOR_KEY, or keep it:"
            f" `program-executor profile add NAME --url {service.url} --key …`"
        )
    return f"{service.url} does not know the key of {service.key_origin}; use another"


def _scope_is_wanted(service: "Service") -> str:
    return (
        f"Use another key than that of {service.key_origin}; an administrator"
        " makes one with `program-executor keys new NAME --scopes …`"
    )


def _says(text: str) -> Callable[["Service"], str]:
    return lambda _service: text


ADVICE: dict[str, Callable[["Service"], str]] = {
    "unauthorized": _key_is_wanted,
    "forbidden": _scope_is_wanted,
    "program_not_found": _says("`program-executor list` shows which there are"),
    "job_not_found": _says("`program-executor jobs` shows which there are"),
    "already_final": _says("`program-executor resume` lets it go on, unless it finished"),
    "not_resumable": _says("`program-executor show` tells where it stands"),
    "job_needed": _says("`program-executor list --in-progress --job …` shows by whom"),
    "job_in_process": _says("`program-executor workers` shows by whom"),
    "first_key": _says("`program-executor keys new NAME --scopes admin` makes it"),
    "rate_limited": _says("The service's RATE_LIMIT says how often a key may ask"),
    "redacted_value": _says("The service's REDACT names the fields that it hides"),
    "database_unavailable": _says("`program-executor doctor`, where the service runs, says more"),
}
"""What to do next, by the problem's code."""
