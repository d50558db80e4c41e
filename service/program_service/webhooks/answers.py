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
from program_service.bookkeeping.storable import NotStorable, storable_object, storable_text
from program_service.logs import log
from program_service.redaction import shown_text
from program_service.telemetry import Event
from program_service.webhooks.caller import Answer

RETRYABLE = {408, 409, 423, 425, 429}
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


def read_answer(answer: Answer, *, within_s: float, secrets: Sequence[str] = ()) -> Reading:
    """Read an answer; an accepted step must be completed within so many seconds.

    `secrets` are hidden where the answer is quoted in part. Other texts are whole, and yet to be
    veiled and cut.
    """
    try:
        return _read(answer, within_s, secrets)
    except Exception as error:  # noqa: BLE001 - everything done for one program
        log.error(Event.ANSWER_UNREADABLE, error_message=repr(error), exc_info=error)
        name = type(error).__name__
        message = f"the endpoint answered {answer.status}, which cannot be read: {name}"
        failure = Failure(message, type="EndpointError", code=BAD_ANSWER)
        return Reading(RetryLater(failure) if _may_pass(answer.status) else Fail(failure))


def _read(answer: Answer, within_s: float, secrets: Sequence[str]) -> Reading:
    body = _object(answer.body)
    if body is not None and body.get("error") is not None:
        return Reading(outcome_of_error(body["error"], status=answer.status))
    status = answer.status
    if status == HTTPStatus.ACCEPTED:
        return Reading(Accepted(within_s))
    if HTTPStatus(200) <= status < HTTPStatus(300):
        return Reading(done(body or {}))
    failure = _failure(answer, body, secrets)
    if _may_pass(status):
        return Reading(RetryLater(failure, _retry_after(answer.headers)))
    return Reading(Fail(failure), is_gone=status == HTTPStatus.GONE)


def done(body: Json) -> Done | Fail:
    """Read the body of a completion."""
    if "program_data" in body:
        message = "the endpoint sent program_data, which jobs cannot change; send job_data"
        return Fail(Failure(message, type="EndpointError", code=BAD_ANSWER))
    try:
        job_data = storable_object(body.get("job_data") or {}, what="the endpoint's job_data")
    except NotStorable as error:
        return Fail(Failure(as_text(str(error)), type="EndpointError", code=BAD_ANSWER))
    return Done(job_data)


def outcome_of_error(error: Any, *, status: int | None = None) -> RetryLater | Fail:
    """Read `{"message", "retryable", "ignorable", "code"}`; a text alone is a message."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    code = fields.get("code")
    failure = Failure(
        message=as_text(message or "the endpoint said that it failed, and not why"),
        type="EndpointError",
        code=as_text(code) if code else f"http_{status}" if status else None,
    )
    if fields.get("retryable") is True:
        return RetryLater(failure)
    return Fail(failure, is_ignorable=fields.get("ignorable") is True)


def _may_pass(status: int) -> bool:
    return status in RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < 200  # noqa: PLR2004 - as HTTP says


def _object(body: bytes) -> Json | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _failure(answer: Answer, body: Json | None, secrets: Sequence[str]) -> Failure:
    """Say what an answer says: a problem's detail or title, else the text itself."""
    said = (body or {}).get("detail") or (body or {}).get("title")
    if not said:
        said = shown_text(answer.body.decode("utf-8", "replace"), secrets, MAX_SHOWN).strip()
    if HTTPStatus(300) <= answer.status < HTTPStatus(400):
        to = shown_text(answer.headers.get("location", "nowhere"), secrets, MAX_SHOWN)
        said = f"redirects are not followed (to {to!r})"
    message = f"the endpoint answered {answer.status}" + (f": {as_text(said)}" if said else "")
    return Failure(storable_text(message), type="EndpointError", code=f"http_{answer.status}")


def as_text(value: Any) -> str:
    """Write any JSON value as a text that can be stored."""
    if not isinstance(value, str):
        try:
            value = orjson.dumps(value).decode()
        except orjson.JSONEncodeError:  # it nests deeper than 254 levels
            value = f"(a JSON {'object' if isinstance(value, dict) else 'value'} too deep to show)"
    return storable_text(value)


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read Retry-After: seconds, or a date; what is neither is ignored."""
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
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_S - 1))
