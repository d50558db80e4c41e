"""Answers, fuzzed: reading what an endpoint sends never raises, and the result can be stored."""

import json
from collections.abc import Mapping

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from program_service.bookkeeping.lifecycle import Accepted, Done, Fail, RetryLater
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.webhooks.answers import MAX_MESSAGE, done, outcome_of_error, read_answer
from program_service.webhooks.caller import Answer

BEYOND_FLOAT = "1" + "0" * 400
TEXTS = st.text() | st.sampled_from(["", "\0", "\ud83d", "x" * 100_000, "\N{GRINNING FACE}" * 9])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)
DEEP = st.builds(
    lambda depth, opening: opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth,
    st.integers(1, 3_000),
    st.sampled_from(["[", '{"a":']),
)
ODD_JSON = DEEP | st.sampled_from([BEYOND_FLOAT, "1e400", "NaN", '"\\ud83d"', '"\\u0000"', "-0"])
PLACES = (
    '{"detail": %s}',
    '{"title": %s}',
    '{"error": %s}',
    '{"error": {"message": %s}}',
    '{"error": {"message": "broke", "code": %s}}',
    '{"error": {"message": "broke", "retryable": %s, "ignorable": %s}}',
    '{"job_data": %s}',
    '{"job_data": {"a": %s}}',
    '{"program_data": %s}',
    "%s",
)
TYPICAL = st.builds(
    lambda place, value: place.replace("%s", value).encode("utf-8", "surrogatepass"),
    st.sampled_from(PLACES),
    VALUES.map(json.dumps) | ODD_JSON,
)
BODIES = TYPICAL | st.binary(max_size=200)
DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}{}".format,
    st.sampled_from(["Mon", "Sun", "", "Xyz"]),
    st.integers(0, 99),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    st.sampled_from([0, 1, 68, 69, 99, 1969, 2027, 9999, 10_000, 10**9]),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61) | st.just(""),
    st.sampled_from(["GMT", "+", "-", "", "EST", "Z"]),
    st.integers(0, 10**20) | st.just(""),
)
WAITS = (
    DATES
    | st.integers().map(str)
    | st.sampled_from(["9" * 5_000, "1e9", "\u0661", "\u00b2", "1_000", " 7 ", "-0", "7, 8", ","])
    | st.text(st.characters(max_codepoint=255))
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": WAITS,
        "location": st.text(st.characters(max_codepoint=255)) | st.just("x" * 1_000_000),
        "content-type": st.text(),
    },
)
STATUSES = st.integers(0, 999) | st.sampled_from([-1, 99, 199, 200, 202, 300, 410, 429, 500, 10**9])


def check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Read an answer, and store what it means."""
    reading = read_answer(Answer(status, headers, body), within_s=30)
    match reading.outcome:
        case Done(job_data):
            assert storable_object(job_data, what="job_data") == job_data
        case Accepted(within_s):
            assert within_s == 30
        case RetryLater(failure, after):
            check_failure(failure.message, failure.code)
            assert after is None or 0 <= after.total_seconds() < LONGEST_S
        case Fail(failure):
            check_failure(failure.message, failure.code)
        case other:
            raise AssertionError(other)
    assert not reading.is_gone or status == 410


def check_failure(message: str, code: str | None) -> None:
    """Require of a failure what every database can keep."""
    assert 0 < len(message) <= MAX_MESSAGE + 200
    assert storable_text(message) == message
    assert code is None or (storable_text(code) == code and 0 < len(code) <= 255)


@settings(deadline=None)
@given(STATUSES, HEADERS, BODIES)
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
    failure = outcome_of_error(value).failure
    check_failure(failure.message, failure.code)
    outcome = done({"job_data": value})
    assert isinstance(outcome, Done | Fail)
