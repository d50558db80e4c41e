"""Answers: every row of the protocol's table."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from structlog.testing import capture_logs

from program_service.bookkeeping.lifecycle import Accepted, Done, Fail, Outcome, RetryLater
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.veiling import veil_outcome
from program_service.webhooks import answers
from program_service.webhooks.answers import Reading, done, outcome_of_error, read_answer
from program_service.webhooks.caller import Answer


def read(status: int, body: bytes = b"", **headers: str) -> Reading:
    """Read an answer; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(Answer(status, named, body), within_s=30)


NO_OBJECTS = {
    "nothing": b"",
    "spaces": b" \n",
    "null": b"null",
    "text": b'"done"',
    "number": b"7",
    "true": b"true",
    "list": b'[{"job_data": {"a": 1}}]',
    "words": b"OK",
    "page": b"<html>",
    "cut": b'{"job_data": {"a": 1',
    "more": b'{"job_data": {"a": 1}} and more',
    "two": b'{"job_data": {"a": 1}}{}',
    "NaN": b'{"job_data": {"a": NaN}}',
    "NaN elsewhere": b'{"job_data": {"a": 1}, "took": NaN}',
    "NaN in an error": b'{"error": {"message": "a", "retryable": true, "code": NaN}}',
    "infinity": b'{"job_data": {"a": -Infinity}}',
    "beyond a double": b'{"job_data": {"a": 1e400}}',
    "beyond 64 bits": b'{"job_data": {"id": 12345678901234567890}}',
    "2^63": b'{"job_data": {"id": 9223372036854775808}}',
    "UTF-16": '{"job_data": {"a": 1}}'.encode("utf-16"),
    "UTF-16 without a mark": '{"job_data": {"a": 1}}'.encode("utf-16-le"),
    "latin-1": '{"job_data": {"a": "é"}}'.encode("latin-1"),
    "surrogate": b'{"job_data": {"a": "\\ud83d"}}',
    "surrogate in a key": b'{"job_data": {"\\ud83d": 1}}',
    "NUL": b'{"job_data": {"a": "\\u0000"}}',
    "raw NUL": b'{"job_data": {"a": "\0"}}',
    "two marks": b'\xef\xbb\xbf\xef\xbb\xbf{"job_data": {"a": 1}}',
    "deep": b'{"job_data": {"a": ' + b"[" * 101 + b"]" * 101 + b"}}",
    "deeper": b'{"job_data": {"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}",
    "single quotes": b"{'job_data': {}}",
    "comma": b'{"job_data": {"a": 1,}}',
}
"""What comes as JSON, and is no object that can be stored."""

SAID = {
    "NaN": (b'{"job_data": {"x": {"deep": [0, {"y": NaN}]}}}', "job_data.x.deep[1].y is NaN"),
    "number": (
        b'{"job_data": {"id": 12345678901234567890}}',
        "job_data.id is an integer beyond 64",
    ),
    "surrogate": (b'{"job_data": {"a": "\\ud83d"}}', "job_data.a holds half of a surrogate pair"),
    "NUL": (b'{"job_data": {"a": "\\u0000"}}', "job_data.a holds the character NUL"),
    "list": (b"[]", "its body is a list, not a JSON object; send an object such as {}"),
    "null": (b"null", "its body is null, not a JSON object; send an object such as {}"),
    "nothing": (b"", "its body is empty; send an object such as {}, or answer 204"),
    "cut": (b'{"job_data": {"a": 1', "its body is not JSON: unexpected end of data"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8, but looks like UTF-16; send it as UTF-8"),
    "latin-1": ('{"a": "é"}'.encode("latin-1"), "it is not UTF-8 (byte 0xE9 at position 7)"),
    "deep": (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "nests deeper than 100 levels"),
}


def failed(outcome: Outcome) -> RetryLater | Fail:
    """Return an outcome that is a failure."""
    assert isinstance(outcome, RetryLater | Fail)
    return outcome


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [b"", b"OK", b"<html>", b"[]", b"null", b'{"error": null}', b"7"])
def test_success_is_done_whatever_its_body(status: int, body: bytes) -> None:
    assert read(status, body).outcome == Done({})


def test_job_data_of_an_answer_are_merged() -> None:
    assert read(200, b'{"job_data": {"receipt": 7}}').outcome == Done({"receipt": 7})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"program_data": {}}', "cannot change"),
        (b'{"job_data": [1]}', "must be a dict"),
        (b'{"job_data": "text"}', "must be a dict, not str"),
        (b'{"job_data": false}', "must be a dict, not bool"),
    ],
)
def test_answer_that_cannot_be_stored_fails_with_the_reason(body: bytes, said: str) -> None:
    outcome = failed(read(200, body).outcome)
    assert isinstance(outcome, Fail)
    assert said in outcome.failure.message
    assert outcome.failure.code == "bad_answer"


def test_accepted_step_is_awaited() -> None:
    assert read(202, b"later").outcome == Accepted(30)


@pytest.mark.parametrize("status", [408, 409, 423, 425, 429, 500, 502, 503, 504, 599, 101])
def test_trouble_that_may_pass_is_retried(status: int) -> None:
    outcome = failed(read(status, b"busy").outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.code == f"http_{status}"
    assert outcome.failure.message == f"the endpoint answered {status}: busy"
    assert outcome.after is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422])
def test_refusal_is_final(status: int) -> None:
    reading = read(status, b'{"title": "No", "detail": "no such customer"}')
    outcome = failed(reading.outcome)
    assert isinstance(outcome, Fail)
    assert outcome.failure.message == f"the endpoint answered {status}: no such customer"
    assert reading.is_gone == (status == 410)


def test_title_of_a_problem_stands_for_a_missing_detail() -> None:
    assert failed(read(400, b'{"title": "No"}').outcome).failure.message.endswith("400: No")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_final_and_never_followed(status: int) -> None:
    outcome = failed(read(status, location="https://elsewhere.example").outcome)
    assert isinstance(outcome, Fail)
    assert "https://elsewhere.example" in outcome.failure.message


@pytest.mark.parametrize("body", NO_OBJECTS.values(), ids=NO_OBJECTS)
@pytest.mark.parametrize("kind", ["application/json", "application/problem+json; charset=utf-8"])
def test_json_that_is_no_object_is_a_failed_try_and_never_done(body: bytes, kind: str) -> None:
    """What the job did may be in it, and would be lost."""
    outcome = failed(read(200, body, content_type=kind, retry_after="7").outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.code == "bad_answer"
    assert outcome.failure.message.startswith("the endpoint answered 200, and its body")
    assert outcome.after == timedelta(seconds=7)


@pytest.mark.parametrize(("body", "said"), SAID.values(), ids=SAID)
def test_bad_answer_says_where_and_why(body: bytes, said: str) -> None:
    message = failed(read(200, body, content_type="application/json").outcome).failure.message
    assert said in message


@pytest.mark.parametrize("body", NO_OBJECTS.values(), ids=NO_OBJECTS)
@pytest.mark.parametrize(("status", "kind"), [(503, RetryLater), (429, RetryLater), (400, Fail)])
def test_error_status_decides_though_its_body_cannot_be_read(
    body: bytes, status: int, kind: type
) -> None:
    outcome = failed(read(status, body, content_type="application/json").outcome)
    assert isinstance(outcome, kind)
    assert outcome.failure.code == ("bad_answer" if body.strip() else f"http_{status}")


@pytest.mark.parametrize("status", [204, 205])
def test_answers_that_never_have_a_body_are_done_without_one(status: int) -> None:
    assert read(status, content_type="application/json").outcome == Done({})


@pytest.mark.parametrize("kind", ["text/plain", "text/html; charset=utf-8", "application/x-ndjson"])
@pytest.mark.parametrize(
    "body", [b"OK", b"[1]", b"", b"{thanks}", b"\xff\xfe", b"12345678901234567890"]
)
def test_body_of_another_type_is_done(body: bytes, kind: str) -> None:
    assert read(200, body, content_type=kind).outcome == Done({})


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/html"}])
@pytest.mark.parametrize("body", [b'{"job_data": {"x": NaN}}', b'{"job_data": {"x": %d}}' % 10**19])
def test_object_with_one_bad_value_is_never_done_whatever_its_type(
    headers: dict[str, str], body: bytes
) -> None:
    outcome = failed(read(200, body, **headers).outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.code == "bad_answer"
    assert "job_data.x is" in outcome.failure.message


def test_cut_object_without_a_type_is_never_done() -> None:
    assert failed(read(200, b'{"job_data": {"a": ').outcome).failure.code == "bad_answer"


def test_202_is_accepted_whatever_its_body() -> None:
    assert read(202, b"null", content_type="application/json").outcome == Accepted(30)


@pytest.mark.parametrize("kind", [None, "application/json", "text/html"])
def test_byte_order_mark_is_skipped(kind: str | None) -> None:
    headers = {"content_type": kind} if kind else {}
    body = b'\xef\xbb\xbf{"job_data": {"receipt": 7}}'
    assert read(200, body, **headers).outcome == Done({"receipt": 7})


@pytest.mark.parametrize(
    "number", ["0.1", "1.0", "-0.0", "1e16", "5e-324", str(2**63 - 1), str(-(2**63)), "1e22", "-0"]
)
def test_numbers_keep_value_and_type(number: str) -> None:
    outcome = read(200, b'{"job_data": {"n": %s}}' % number.encode()).outcome
    assert isinstance(outcome, Done)
    assert outcome.job_data is not None
    assert repr(outcome.job_data["n"]) == repr(json.loads(number))


@pytest.mark.parametrize("status", [200, 202, 400, 404, 409, 423, 410, 302, 500, 503])
def test_error_in_the_body_says_that_it_is_retried_whatever_the_status(status: int) -> None:
    body = b'{"error": {"message": "no money", "retryable": true, "code": "broke"}}'
    outcome = failed(read(status, body, retry_after="9").outcome)
    assert isinstance(outcome, RetryLater)
    assert (outcome.failure.message, outcome.failure.code) == ("no money", "broke")
    assert outcome.after == timedelta(seconds=9)


@pytest.mark.parametrize("status", [200, 202, 400, 404, 409, 423, 408, 425, 429, 500, 503, 599])
def test_error_in_the_body_says_that_it_is_final_whatever_the_status(status: int) -> None:
    body = b'{"error": {"message": "no", "retryable": false, "ignorable": true}}'
    final = failed(read(status, body).outcome)
    assert isinstance(final, Fail)
    assert final.is_ignorable
    assert final.failure.code == f"http_{status}"


@pytest.mark.parametrize(
    "more", ["", ', "retryable": null', ', "retryable": "false"', ', "code": 1']
)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_error_that_does_not_say_that_it_is_final_is_retried_if_the_status_is(
    status: int, more: str
) -> None:
    body = f'{{"error": {{"message": "busy"{more}}}}}'.encode()
    outcome = failed(read(status, body, retry_after="3600").outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.message == "busy"
    assert outcome.after == timedelta(hours=1)


@pytest.mark.parametrize("status", [200, 202, 400, 404, 409, 410, 423, 302])
def test_error_that_does_not_say_that_it_is_retryable_is_final_otherwise(status: int) -> None:
    reading = read(status, b'{"error": {"message": "no such customer"}}')
    assert isinstance(reading.outcome, Fail)
    assert not reading.is_gone


NO_ERRORS = [
    *("null", "false", "true", "0", "1", '""', '"Service Unavailable"', "{}", "[]", '["a"]'),
    *('{"code": 503}', '{"message": null}', '{"message": 7}', '{"message": ["a"]}'),
    '{"retryable": false}',
]


@pytest.mark.parametrize("error", NO_ERRORS)
def test_what_is_not_an_object_with_a_text_as_message_is_no_error(error: str) -> None:
    body = f'{{"status": 503, "error": {error}, "job_data": {{"n": 1}}}}'.encode()
    assert read(200, body).outcome == Done({"n": 1})
    assert read(202, body).outcome == Accepted(30)
    for status, kind in ((503, RetryLater), (429, RetryLater), (404, Fail)):
        outcome = failed(read(status, body).outcome)
        assert isinstance(outcome, kind)
        assert outcome.failure.code == f"http_{status}"
    assert read(410, body).is_gone


def test_error_without_words_says_so() -> None:
    assert "not why" in outcome_of_error({"message": ""}).failure.message


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0", 0), ("86400", 86_400)])
def test_retry_after_in_seconds_is_a_lower_bound(text: str, seconds: int) -> None:
    outcome = failed(read(503, retry_after=text).outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.after == timedelta(seconds=seconds)


def test_retry_after_as_a_date_is_a_lower_bound() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    outcome = failed(read(429, retry_after=moment).outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.after is not None
    assert timedelta(minutes=58) < outcome.after <= timedelta(hours=1)
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    outcome = failed(read(429, retry_after=past).outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.after == timedelta(0)


@pytest.mark.parametrize(
    "text", ["86401", "1767225600", "9" * 5_000, "Thu, 01 Jan 2099 00:00:00 GMT"]
)
def test_retry_after_is_a_day_at_most_or_the_longest_pause_of_the_job(text: str) -> None:
    """A moment in seconds since 1970 would park a program for decades."""
    answer = Answer(503, {"retry-after": text}, b"")
    for max_s, longest_s in ((3_600.0, 86_400), (86_400.5, 86_400.5), (10**9, LONGEST_S - 1)):
        outcome = failed(read_answer(answer, within_s=30, max_s=max_s).outcome)
        assert isinstance(outcome, RetryLater)
        assert outcome.after is not None
        assert outcome.after.total_seconds() <= longest_s
        assert outcome.after.total_seconds() >= min(longest_s, 86_401)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "\u0667", "Mon, 99 Foo 2026 00:00:00 GMT"]
)
def test_retry_after_that_is_nothing_is_ignored(text: str) -> None:
    outcome = failed(read(503, retry_after=text).outcome)
    assert isinstance(outcome, RetryLater)
    assert outcome.after is None


def test_long_answers_are_shown_in_part() -> None:
    assert len(failed(read(500, b"x" * 1_000_000).outcome).failure.message) < 600


def test_bytes_that_are_no_text_are_shown_somehow() -> None:
    assert "\0" not in failed(read(500, b"\xff\x00\xfe").outcome).failure.message


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_what_nobody_foresaw_fails_this_step_alone_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def fail(*_answer: object) -> None:
        raise RecursionError

    monkeypatch.setattr(answers, "read_body", fail)
    with capture_logs() as lines:
        outcome = failed(read(status).outcome)
    assert isinstance(outcome, RetryLater) == (status in {429, 500})
    assert outcome.failure.code == "bad_answer"
    assert [line["event"] for line in lines] == ["answer.unreadable"]


def test_texts_are_cut_and_other_values_are_shown_as_json() -> None:
    whole = outcome_of_error({"message": "x" * 1_000_000})
    assert veil_outcome(whole).failure.message.endswith("… 934.5 kB left out")
    error = {"message": "broke", "code": {"a": True}}
    failure = outcome_of_error(error).failure
    assert (failure.message, failure.code) == ("broke", '{"a":true}')
    located = failed(read(302, location="x" * 1_000_000).outcome)
    assert len(located.failure.message) < 600


def test_completion_without_job_data_is_done() -> None:
    assert done({}) == done({"job_data": None}) == done({"job_data": []}) == Done({})
