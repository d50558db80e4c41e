"""In-process jobs: what an exception of a job means for its program."""

from datetime import timedelta
from typing import Any

import pytest

from program_executor import IgnorableError, JobError, RetryableError
from program_service.bookkeeping.lifecycle import Fail, Failure, Outcome, RetryLater
from program_service.bookkeeping.veiling import veil_outcome
from program_workers.judgement import judge


class MarkedError(Exception):
    """An exception of some library, with attributes of its own."""

    def __init__(self, message: str = "", **marks: Any) -> None:
        super().__init__(message)
        vars(self).update(marks)


def failure_of(outcome: Outcome) -> Failure:
    """Return what went wrong."""
    assert isinstance(outcome, Fail | RetryLater)
    return outcome.failure


def raised(error: BaseException) -> BaseException:
    """Raise an exception and return it, so that it has a traceback."""
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("after", "delay"),
    [
        (None, None),
        (2.5, timedelta(seconds=2.5)),
        (3, timedelta(seconds=3)),
        (timedelta(minutes=1), timedelta(minutes=1)),
    ],
)
def test_retryable_error_is_tried_again_not_before_its_time(
    after: float | timedelta | None, delay: timedelta | None
) -> None:
    outcome = judge(RetryableError("the bank is closed", code="closed", after=after))
    assert isinstance(outcome, RetryLater)
    assert outcome.after == delay
    assert (outcome.failure.message, outcome.failure.code) == ("the bank is closed", "closed")
    assert outcome.failure.type == "RetryableError"


@pytest.mark.parametrize("after", [2.5, timedelta(seconds=2.5)])
def test_any_exception_may_say_that_it_is_retryable(after: float | timedelta) -> None:
    outcome = judge(MarkedError("busy", retryable=True, after=after, code=503))
    assert isinstance(outcome, RetryLater)
    assert outcome.after == timedelta(seconds=2.5)
    assert outcome.failure.code == "503"


@pytest.mark.parametrize("error", [IgnorableError("gone"), MarkedError("gone", ignorable=True)])
def test_ignorable_error_ends_the_program_without_alarm(error: Exception) -> None:
    outcome = judge(error)
    assert isinstance(outcome, Fail)
    assert outcome.is_ignorable
    assert outcome.failure.message == "gone"


@pytest.mark.parametrize(
    "error",
    [
        LookupError("no such card"),
        JobError("no such card"),
        MarkedError("no such card", retryable=False, ignorable=False),
        MarkedError("no such card", retryable="yes", ignorable=1),
        SystemExit("no such card"),
    ],
)
def test_any_other_error_is_final(error: BaseException) -> None:
    outcome = judge(error)
    assert isinstance(outcome, Fail)
    assert not outcome.is_ignorable
    assert outcome.failure.message == "no such card"
    assert outcome.failure.type == type(error).__name__


def test_message_is_kept_whole() -> None:
    assert failure_of(judge(ValueError("x" * 1_000_000))).message == "x" * 1_000_000


def test_error_without_message_is_named() -> None:
    assert failure_of(judge(ValueError())).message == "ValueError"
    assert failure_of(judge(RetryableError())).message
    assert failure_of(judge(IgnorableError())).message


def test_what_no_database_can_keep_is_replaced() -> None:
    """PostgreSQL refuses NUL, and no encoding has halves of surrogate pairs."""
    error = raised(MarkedError("a\0b\ud800c", code="d\0\udfff"))
    failure = failure_of(judge(error))
    assert failure.message == "a\N{REPLACEMENT CHARACTER}b?c"
    assert failure.code == "d\N{REPLACEMENT CHARACTER}?"
    assert failure.traceback is not None
    for text in (failure.message, failure.traceback, failure.type, failure.code):
        assert text is not None
        assert "\0" not in text
        assert text.encode()


def test_traceback_tells_where_and_from_what() -> None:
    try:
        try:
            raise KeyError("card")  # noqa: TRY301
        except KeyError as cause:
            raise LookupError("no such card") from cause
    except LookupError as error:
        failure = failure_of(judge(error))
    assert failure.traceback is not None
    assert "KeyError: 'card'" in failure.traceback
    assert "LookupError: no such card" in failure.traceback
    assert __file__ in failure.traceback


def test_long_names_and_codes_fit_their_columns() -> None:
    kind = type("X" * 300, (Exception,), {})
    failure = failure_of(veil_outcome(judge(kind("wrong"))))
    assert failure.type == "X" * 255
    long_code = JobError("wrong", code="c" * 300)
    assert failure_of(veil_outcome(judge(long_code))).code == "c" * 255


class UnspeakableError(Exception):
    """An error whose every attribute raises, as careless libraries have them."""

    def __str__(self) -> str:
        raise AttributeError("there is no response to tell of")

    @property
    def retryable(self) -> bool:
        """Raise."""
        raise RuntimeError("not now")

    @property
    def code(self) -> str:
        """Raise."""
        raise RuntimeError("not now")


def test_error_that_cannot_be_asked_is_final() -> None:
    """Whatever a job raises must be judged: nothing of it may reach the worker."""
    outcome = judge(raised(UnspeakableError()))
    assert isinstance(outcome, Fail)
    assert "UnspeakableError" in outcome.failure.message
