"""Veiling: make the texts of what became of a step such as may be recorded, shown and logged.

Hidden values are taken out of them first, and then they are cut.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from program_service.bookkeeping.lifecycle import Fail, Failure, Json, Outcome, RetryLater
from program_service.bookkeeping.storable import storable_object
from program_service.bookkeeping.unstorable import NotStorable
from program_service.redaction import Redaction, shown_text, veil_text

Came = TypeVar("Came", bound=Outcome)

MAX_WORD = 255
"""Characters of the type and the code of an error: their columns have no more."""


def veil_outcome(outcome: Came, secrets: Sequence[str] = ()) -> Came:
    """Return an outcome whose texts hold none of these secrets, and are not too long."""
    if not isinstance(outcome, Fail | RetryLater):
        return outcome
    return replace(outcome, failure=veil_failure(outcome.failure, secrets))


def veil_failure(failure: Failure, secrets: Sequence[str] = ()) -> Failure:
    """Return a failure whose texts hold none of these secrets, and are not too long."""
    trace = failure.traceback
    return replace(
        failure,
        message=shown_text(failure.message, secrets),
        type=_word(failure.type, secrets),
        traceback=None if trace is None else shown_text(trace, secrets),
        code=_word(failure.code, secrets),
    )


def _word(word: str | None, secrets: Sequence[str]) -> str | None:
    return None if word is None else veil_text(word, secrets)[:MAX_WORD]


def storable_for(redaction: Redaction, value: Any, *, what: str) -> Json:
    """Return a dict as it will be stored, as `storable_object` does; hidden values are not shown.

    Raises:
        NotStorable: it is no dict, or holds what cannot be stored.
    """
    try:
        return storable_object(value, what=what)
    except NotStorable as error:
        is_hidden = redaction.hides_any(error.names)
        raise (error.without_value() if is_hidden else error) from None
