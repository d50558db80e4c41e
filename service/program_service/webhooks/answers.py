"""Answers: what an endpoint's answer means; the table of the protocol, row by row.

Whatever the answer is, reading it never raises: it belongs to one program, and so does its failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from program_service.bookkeeping.lifecycle import (
    Accepted,
    Done,
    Fail,
    Failure,
    Json,
    Outcome,
    RetryLater,
)
from program_service.bookkeeping.retry import LONGEST_S
from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.bookkeeping.unstorable import NotStorable
from program_service.logs import log
from program_service.redaction import shown_text
from program_service.telemetry import Event
from program_service.webhooks.answer_bodies import Unreadable, error_in, read_body
from program_service.webhooks.caller import Answer

RETRYABLE = {408, 409, 423, 425, 429}
UP_TO_THE_ERROR = {409, 423}
"""Statuses of conflicts: retried, but not if the body names an error that is not retryable."""
LONGEST_WAIT_S = 86_400.0
"""The latest that Retry-After may ask for, unless the job's own pauses are longer: a day."""
MAX_SHOWN = 500
"""Bytes of a header, or of an answer that is no JSON, in an error message."""
MAX_DATE = 100
"""Characters of a date in a header; no format of RFC 9110 has more than 34."""

BAD_ANSWER = "bad_answer"
UNREADABLE_DATE = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)
"""What the parser of dates raises: a zone of 10^14 overflows, a year of 0 is refused, …"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer means; `is_gone`: the endpoint asked never to be called again."""

    outcome: Outcome
    is_gone: bool = False


def read_answer(
    answer: Answer, *, within_s: float, max_s: float = 0.0, secrets: Sequence[str] = ()
) -> Reading:
    """Read an answer.

    An accepted step must be completed within `within_s`; `max_s` is the longest pause of the job.
    `secrets` are hidden where the answer is quoted in part. Other texts are whole, and yet to be
    veiled and cut.
    """
    try:
        return _read(answer, within_s, max_s, secrets)
    except Exception as error:  # noqa: BLE001 - everything done for one program
        log.error(Event.ANSWER_UNREADABLE, error_message=repr(error), exc_info=error)
        name = type(error).__name__
        failure = _bad(f"the endpoint answered {answer.status}, which cannot be read: {name}")
        return Reading(RetryLater(failure) if _may_pass(answer.status) else Fail(failure))


def _read(answer: Answer, within_s: float, max_s: float, secrets: Sequence[str]) -> Reading:
    status, body = answer.status, read_body(answer.status, answer.headers, answer.body)
    after = _retry_after(answer.headers, max(LONGEST_WAIT_S, max_s))
    if (error := error_in(body)) is not None:
        return Reading(outcome_of_error(error, status=status, after=after))
    if status == HTTPStatus.ACCEPTED:
        return Reading(Accepted(within_s))
    if HTTPStatus(200) <= status < HTTPStatus(300):
        if isinstance(body, Unreadable):  # done it may be, but what it came to would be lost
            message = f"the endpoint answered {status}, and {body.reason}"
            return Reading(RetryLater(_bad(message), after))
        return Reading(done(body or {}))
    failure = _failure(answer, body, secrets)
    if _may_pass(status):
        return Reading(RetryLater(failure, after))
    return Reading(Fail(failure), is_gone=status == HTTPStatus.GONE)


def done(body: Json) -> Done | Fail:
    """Read the body of a completion."""
    if "program_data" in body:
        return Fail(_bad("the endpoint sent program_data, which jobs cannot change; send job_data"))
    job_data = body.get("job_data")
    if job_data is None or job_data == []:  # PHP writes an empty object so
        return Done({})
    try:
        return Done(storable_object(job_data, what="the endpoint's job_data"))
    except NotStorable as error:
        return Fail(_bad(as_text(str(error))))


def outcome_of_error(
    error: Json, *, status: int | None = None, after: timedelta | None = None
) -> RetryLater | Fail:
    """Read `{"message", "retryable", "ignorable", "code"}`; `status` decides where it does not."""
    code, retryable = error.get("code"), error.get("retryable")
    failure = Failure(
        message=as_text(error["message"] or "the endpoint said that it failed, and not why"),
        type="EndpointError",
        code=as_text(code) if code else f"http_{status}" if status else None,
    )
    asks_again = status is not None and _may_pass(status) and status not in UP_TO_THE_ERROR
    if retryable is True or (asks_again and retryable is not False):
        return RetryLater(failure, after)
    return Fail(failure, is_ignorable=error.get("ignorable") is True)


def _bad(message: str) -> Failure:
    return Failure(storable_text(message), type="EndpointError", code=BAD_ANSWER)


def _may_pass(status: int) -> bool:
    return status in RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < 200  # noqa: PLR2004 - as HTTP says


def _failure(answer: Answer, body: Json | Unreadable | None, secrets: Sequence[str]) -> Failure:
    """Say what an answer says: a problem's detail or title, else the text itself."""
    status, fields = answer.status, body if isinstance(body, dict) else {}
    said = fields.get("detail") or fields.get("title")
    if not said:
        said = shown_text(answer.body.decode("utf-8", "replace"), secrets, MAX_SHOWN).strip()
    if HTTPStatus(300) <= status < HTTPStatus(400):
        to = shown_text(answer.headers.get("location", "nowhere"), secrets, MAX_SHOWN)
        said = f"redirects are not followed (to {to!r})"
    shown = f": {as_text(said)}" if said else ""
    if isinstance(body, Unreadable) and not body.is_empty:
        return _bad(f"the endpoint answered {status}, and {body.reason}{shown}")
    message = storable_text(f"the endpoint answered {status}{shown}")
    return Failure(message, type="EndpointError", code=f"http_{status}")


def as_text(value: Any) -> str:
    """Write any JSON value as a text that can be stored."""
    if not isinstance(value, str):
        try:
            value = orjson.dumps(value).decode()
        except orjson.JSONEncodeError:  # it nests deeper than 254 levels
            value = f"(a JSON {'object' if isinstance(value, dict) else 'value'} too deep to show)"
    return storable_text(value)


def _retry_after(headers: Mapping[str, str], longest_s: float) -> timedelta | None:
    """Read Retry-After: seconds, or a date; what is neither is ignored, and what is later cut."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii():
        seconds = float(text[:12])
    else:
        try:
            moment = parsedate_to_datetime(text[:MAX_DATE])
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (aware - datetime.now(UTC)).total_seconds()
        except UNREADABLE_DATE:
            return None
    return timedelta(seconds=min(max(seconds, 0.0), longest_s, LONGEST_S - 1))
