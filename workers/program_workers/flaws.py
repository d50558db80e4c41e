"""Flaws: what is wrong with what `@job` was given, and what would be right."""

from typing import TypeGuard

from program_service.bookkeeping.retry import LONGEST_S, Retry
from program_service.names import require_job_name, require_queue_name
from program_workers.classes import takes


def flaw_of_names(job: object, queue: object) -> str | None:
    """Say why a job or its queue cannot have its name."""
    try:
        require_job_name(job)
        require_queue_name(queue)
    except ValueError as error:
        return str(error)
    return None


def flaw_of_function(function: object) -> str | None:
    """Say why this is not the function of a job."""
    if not callable(function):
        return f"{function!r:.100} is not a function"
    if not takes(function, 1):
        return "its function must take the context, as in def charge(ctx)"
    return None


def flaw_of_terms(timeout_s: object, retry: object) -> str | None:
    """Say why a job cannot run under these terms."""
    if not (timeout_s is None or (_is_number(timeout_s) and 0 < timeout_s <= LONGEST_S)):
        return (
            f"timeout_s is {timeout_s!r:.100}; it must be a number of seconds above 0 and at most"
            f" {LONGEST_S:.0f}, or None"
        )
    if not isinstance(retry, Retry):
        return f"retry is {retry!r:.100}; it must be a policy, such as Retry(max_attempts=3)"
    return None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
