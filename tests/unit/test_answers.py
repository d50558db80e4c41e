"""Answers: every row of the protocol's table."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from structlog.testing import capture_logs

from program_service.bookkeeping.lifecycle import Accepted, Done, Fail, Outcome, RetryLater
from program_service.bookkeeping.veiling import veil_outcome
from program_service.webhooks import answers
from program_service.webhooks.answers import Reading, done, outcome_of_error, read_answer
from program_service.webhooks.caller import Answer


def read(status: int, body: bytes = b"", **headers: str) -> Reading:
    """Read an answer; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(Answer(status, named, body), within_s=30)


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
        (b'{"job_data": {"a": "\\u0000"}}', "NUL"),
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


@pytest.mark.parametrize("status", [200, 202, 400, 404, 500])
def test_error_in_the_body_decides_whatever_the_status(status: int) -> None:
    body = b'{"error": {"message": "no money", "retryable": true, "code": "broke"}}'
    outcome = failed(read(status, body).outcome)
    assert isinstance(outcome, RetryLater)
    assert (outcome.failure.message, outcome.failure.code) == ("no money", "broke")
    final = failed(read(status, b'{"error": {"message": "no", "ignorable": true}}').outcome)
    assert isinstance(final, Fail)
    assert final.is_ignorable


@pytest.mark.parametrize("error", ["broken", {"message": "broken"}, {"message": "broken", "x": 1}])
def test_error_may_be_a_text(error: object) -> None:
    assert outcome_of_error(error).failure.message == "broken"


@pytest.mark.parametrize("error", [{}, [], "", {"message": None}, 0, False])
def test_error_without_a_message_says_so(error: object) -> None:
    assert failed(outcome_of_error(error)).failure.message


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0", 0), ("99999999999", 316_223_999)])
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
    def fail(_body: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr(answers, "_object", fail)
    with capture_logs() as lines:
        outcome = failed(read(status).outcome)
    assert isinstance(outcome, RetryLater) == (status in {429, 500})
    assert outcome.failure.code == "bad_answer"
    assert [line["event"] for line in lines] == ["answer.unreadable"]


def test_texts_are_cut_and_other_values_are_shown_as_json() -> None:
    whole = outcome_of_error("x" * 1_000_000)
    assert veil_outcome(whole).failure.message.endswith("… 934.5 kB left out")
    error = {"message": [{"loc": "body"}], "code": {"a": True}}
    failure = outcome_of_error(error).failure
    assert (failure.message, failure.code) == ('[{"loc":"body"}]', '{"a":true}')
    located = failed(read(302, location="x" * 1_000_000).outcome)
    assert len(located.failure.message) < 600


def test_completion_without_job_data_is_done() -> None:
    assert done({}) == Done({})
