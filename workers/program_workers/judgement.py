"""Judgement: what an exception means that came out of a user's function.

It is asked nothing that its author could answer wrongly: `isinstance` reads a `__class__` that may
raise, and so may any text and any attribute of it. So it is judged by its real type, and read with
care.
"""

import asyncio
from datetime import timedelta
from functools import partial

from program_service.bookkeeping.lifecycle import Fail, Failure, Outcome, RetryLater
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.storable import storable_text
from program_service.cancellation import is_being_cancelled
from program_service.plain import name_of, text_of, traceback_of, tried


def is_cancellation(error: BaseException) -> bool:
    """Tell a cancellation, whoever asked for it."""
    return issubclass(type(error), asyncio.CancelledError)


def is_for_the_worker(error: BaseException) -> bool:
    """Tell what ends the worker, or its task, from what a user's function raised.

    A job or hook that awaited something which was cancelled, that calls sys.exit(), or that raises
    what only a signal or the end of a generator means, ends nothing but itself.
    """
    if is_cancellation(error):
        return is_being_cancelled()
    # a task that is destroyed is closed from outside of any task
    return issubclass(type(error), GeneratorExit) and _current_task() is None


def _current_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs any more
        return None


def judge(error: BaseException) -> Outcome:
    """Say what an exception of a job means; any exception may carry `retryable` or `ignorable`."""
    failure = Failure(
        message=storable_text(text_of(error) or name_of(error)),
        type=storable_text(name_of(error)),
        traceback=storable_text(traceback_of(error)),
        code=_code(error),
    )
    if _ask(error, "retryable") is True:
        return RetryLater(failure, tried(partial(_delay, _ask(error, "after")), None))
    return Fail(failure, is_ignorable=_ask(error, "ignorable") is True)


def _delay(after: object) -> timedelta | None:
    """Read the least delay before a retry: a timedelta, or seconds; what is neither is ignored."""
    if isinstance(after, int | float) and 0 <= after < LONGEST_S:
        return timedelta(seconds=after)
    return timedelta(seconds=after.total_seconds()) if isinstance(after, timedelta) else None


def _ask(error: BaseException, name: str) -> object:
    """Read an attribute of what a job raised, even of what cannot be asked."""
    return tried(lambda: getattr(error, name, None), None)


def _code(error: BaseException) -> str | None:
    code = _ask(error, "code")
    return storable_text(text_of(code)) if code is not None else None
