"""Veiling: take hidden values out of what became of a step, before it is recorded and logged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from program_service.bookkeeping.lifecycle import Fail, Outcome, RetryLater
from program_service.redaction import veil_text

Came = TypeVar("Came", bound=Outcome)


def veil_outcome(outcome: Came, secrets: Sequence[str]) -> Came:
    """Return an outcome whose texts hold none of these secrets."""
    if not isinstance(outcome, Fail | RetryLater) or not secrets:
        return outcome
    failure = outcome.failure
    trace, code = failure.traceback, failure.code
    veiled = replace(
        failure,
        message=veil_text(failure.message, secrets),
        traceback=None if trace is None else veil_text(trace, secrets),
        code=None if code is None else veil_text(code, secrets),
    )
    return replace(outcome, failure=veiled)
