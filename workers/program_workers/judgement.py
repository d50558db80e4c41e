"""Judgement: what an exception means that came out of a user's function."""

import asyncio
import traceback
from datetime import timedelta

from program_service.bookkeeping.lifecycle import Fail, Failure, Outcome, RetryLater
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.storable import storable_text


def is_for_the_worker(error: BaseException) -> bool:
    """Tell what ends the worker, or its task, from what a user's function raised.

    A job or hook that awaited something which was cancelled, or that calls sys.exit(), ends nothing
    but itself.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def judge(error: BaseException) -> Outcome:
    """Say what an exception of a job means; any exception may carry `retryable` or `ignorable`."""
    failure = Failure(
        message=storable_text(text_of(error) or type(error).__name__),
        type=storable_text(type(error).__qualname__)[:255],
        traceback=storable_text("".join(traceback.format_exception(error))),
        code=_code(error),
    )
    if _ask(error, "retryable") is True:
        return RetryLater(failure, _delay(_ask(error, "after")))
    return Fail(failure, is_ignorable=_ask(error, "ignorable") is True)


def _delay(after: object) -> timedelta | None:
    """Read the least delay before a retry: a timedelta, or seconds; what is neither is ignored."""
    if isinstance(after, int | float) and 0 <= after < LONGEST_S:
        return timedelta(seconds=after)
    return after if isinstance(after, timedelta) else None


def _ask(error: BaseException, name: str) -> object:
    """Read an attribute of what a job raised, even of what cannot be asked."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a job's own property
        return None


def _code(error: BaseException) -> str | None:
    code = _ask(error, "code")
    return storable_text(text_of(code))[:255] if code is not None else None


def text_of(value: object) -> str:
    """Return the text of what a job raised, even of what cannot say it."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a job's own __str__
        return f"<{type(value).__qualname__} without a text>"
