"""Answers, fuzzed: reading what an endpoint sends never raises, and the result can be stored."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings

from odd_answers import BODIES, DEEP, HEADERS, JSON_TYPES, STATUSES, VALUES, exact
from odd_data import is_same
from program_service.bookkeeping.lifecycle import Accepted, Done, Fail, RetryLater
from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.bookkeeping.veiling import veil_outcome
from program_service.texts import MAX_TEXT_BYTES, size_of
from program_service.webhooks.answers import done, outcome_of_error, read_answer
from program_service.webhooks.caller import Answer


def check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Read an answer, and store what it means."""
    reading = read_answer(Answer(status, headers, body), within_s=30)
    match veil_outcome(reading.outcome):
        case Done(job_data):
            assert 200 <= status < 300
            check_done(job_data, headers, body)
        case Accepted(within_s):
            assert within_s == 30
        case RetryLater(failure, after):
            check_failure(failure.message, failure.code)
            assert after is None or 0 <= after.total_seconds() <= 86_400
        case Fail(failure):
            check_failure(failure.message, failure.code)
        case other:
            raise AssertionError(other)
    assert not reading.is_gone or status == 410


def check_done(job_data: Any, headers: Mapping[str, str], body: bytes) -> None:
    """Require that what was sent is stored, and that nothing which says that it is JSON is lost."""
    assert storable_object(job_data, what="job_data") == job_data
    sent = exact(body)
    if isinstance(sent, dict):
        assert is_same(job_data, sent.get("job_data") or {})
    else:
        assert job_data == {}
        assert headers.get("content-type") not in JSON_TYPES or not body.strip()


def check_failure(message: str, code: str | None) -> None:
    """Require of a failure what every database can keep."""
    assert 0 < size_of(message) <= MAX_TEXT_BYTES
    assert storable_text(message) == message
    assert code is None or (storable_text(code) == code and 0 < len(code) <= 255)


@settings(deadline=None)
@given(STATUSES, HEADERS, BODIES)
@example(200, {"content-type": "application/json"}, b'{"job_data": {"a": NaN}}')
@example(200, {}, b'{"job_data": {"id": 12345678901234567890}}')
@example(503, {"retry-after": "Mon, 01 Jan 2027 00:00:00 +99999999999999"}, b"")
@example(503, {"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, b"")
@example(503, {"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, b"")
@example(500, {}, b'{"detail": ' + b"[" * 1_000 + b"]" * 1_000 + b"}")
@example(500, {}, b'{"title": ' + b"[" * 1_000 + b"]" * 1_000 + b"}")
@example(200, {}, b'{"error": {"message": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}")
@example(200, {}, b'{"error": {"code": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}")
@example(200, {}, b'{"job_data": {"a": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}")
def test_reading_an_answer_never_raises(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    check(status, headers, body)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=10_000, deadline=None)
@given(STATUSES, HEADERS, BODIES)
def test_reading_an_answer_never_raises_in_many_more_examples(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    check(status, headers, body)


@settings(deadline=None)
@given(VALUES | DEEP.map(lambda text: orjson.loads(text) if len(text) < 2_000 else text))
def test_reading_an_error_or_a_completion_never_raises(value: object) -> None:
    """They also come through the links of a call."""
    error = {"message": "broke", "code": value, "retryable": value}
    failure = veil_outcome(outcome_of_error(error)).failure
    check_failure(failure.message, failure.code)
    outcome = done({"job_data": value})
    assert isinstance(outcome, Done | Fail)
