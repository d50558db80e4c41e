"""Problems: every error that a caller sees, as RFC 9457 problem+json, from one table."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from program_service.api.guarded import ALWAYS
from program_service.api.methods import allowed
from program_service.api.queries import ProgramQuery
from program_service.bookkeeping import errors
from program_service.bookkeeping.ledger.pages import BadCursor
from program_service.bookkeeping.unstorable import NotStorable
from program_service.logs import log
from program_service.telemetry import Event

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

MOST_ECHOED = 500
"""Characters of what a caller sent that an answer repeats at a time."""

MOST_DETAIL = 2_000
"""Characters of a `detail`."""

MOST_MISTAKES = 20
"""Mistakes that an answer describes, with hints; `detail` says how many more there are."""

MOST_COMPARED = 500
"""Names that a hint is looked for among: 20 names among so many take 20 ms."""

MOST_HINTED = 100
"""Characters of a name that a hint is looked for."""

CODES: dict[type[Exception], tuple[int, str]] = {
    errors.ProgramNotFound: (404, "program_not_found"),
    errors.AlreadyFinal: (409, "already_final"),
    errors.NotResumable: (409, "not_resumable"),
    errors.StaleStep: (409, "stale_step"),
    errors.JobNotFound: (404, "job_not_found"),
    errors.JobsNotRegistered: (422, "unknown_jobs"),
    errors.JobNeeded: (409, "job_needed"),
    errors.JobInProcess: (409, "job_in_process"),
    errors.TooManyTokenKeys: (409, "too_many_token_keys"),
    errors.IdempotencyMismatch: (422, "idempotency_mismatch"),
    errors.RowUnreadable: (409, "unreadable_row"),
    errors.JobDataTooLarge: (413, errors.JobDataTooLarge.code),
    errors.KeyNotFound: (404, "key_not_found"),
    errors.SessionNotFound: (404, "session_not_found"),
    errors.TooManyKeys: (409, "too_many_keys"),
    errors.BatchRefused: (422, "refused_by_database"),
    errors.DatabaseUnavailable: (503, "database_unavailable"),
    BadCursor: (422, "bad_cursor"),
    NotStorable: (422, "not_storable"),
}
"""What each error of the bookkeeping is for a caller: status and code."""

STATUS_CODES = {
    400: "malformed_body",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "not_json",
    422: "invalid",
    429: "rate_limited",
}

TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""The words of RFC 9110, where Python had older ones before 3.13."""

FieldErrors = Sequence[Mapping[str, Any]]


class Problem(HTTPException):
    """Something is wrong with a request; `errors` says where, and what would be right."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: FieldErrors = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take what the caller shall read."""
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.fields = fields


def forbidden_address(field: str, error: Exception) -> Problem:
    """Say of a field of a body that its address may not be called."""
    code, words = "forbidden_address", str(error)
    item = {"field": field, "in": "body", "code": code, "message": words}
    return Problem(422, code, words, fields=[item])


def title_of(status: int) -> str:
    """Return a status in words; the same under every Python."""
    return TITLES.get(status, HTTPStatus(status).phrase)


def answer(  # noqa: PLR0913 - the members of RFC 9457
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    fields: FieldErrors = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem down."""
    body: dict[str, Any] = {
        "type": f"urn:program-executor:problem:{code}",
        "title": title_of(status),
        "status": status,
        "detail": cut(detail, MOST_DETAIL),
        "instance": cut(request.url.path),
        "code": code,
    }
    if fields:
        body["errors"] = list(fields[:MOST_MISTAKES])
    return Response(
        orjson.dumps(body, default=str), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def cut(text: str, most: int = MOST_ECHOED) -> str:
    """Return what a caller sent, short enough to be sent back."""
    return text if len(text) <= most else f"{text[:most]}…"


def install(app: FastAPI) -> None:
    """Let the application answer every error as a problem."""
    for kind in CODES:
        app.add_exception_handler(kind, _of_bookkeeping)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(ClientDisconnect, _of_disconnect)
    app.add_exception_handler(Exception, _of_bug)


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    if isinstance(error, HTTPException):
        return error.status_code
    found = _code_of(error)
    return found[0] if found else HTTPStatus.INTERNAL_SERVER_ERROR


def _code_of(error: Exception) -> tuple[int, str] | None:
    """Return status and code of an error, or of the kind that it is one of."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)


async def _of_bookkeeping(request: Request, error: Exception) -> Response:
    found = _code_of(error)
    assert found is not None
    (status, code), detail, headers = found, str(error), {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning(Event.DATABASE_UNAVAILABLE, during="request", error_message=detail)
        headers["Retry-After"] = str(RETRY_AFTER_S)
        # the database's own words may name its hosts and tables: they are for the log
        detail = type(error).__doc__ or detail
    return answer(request, status=status, code=code, detail=detail, headers=headers)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers, detail = error.status_code, dict(error.headers or {}), str(error.detail)
    path = request.url.path
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed(request.app, path)
        detail = f"This path takes {headers['Allow']}, and no {request.method}."
    elif status == HTTPStatus.NOT_FOUND and not isinstance(error, Problem):
        is_near = path.endswith("/") and allowed(request.app, path.rstrip("/"))
        right = "leave out the slash at its end." if is_near else "/openapi.json names all."
        detail = f"There is no such path; {right}"
    return answer(
        request,
        status=status,
        code=getattr(error, "code", STATUS_CODES.get(status, "error")),
        detail=detail,
        fields=getattr(error, "fields", ()),
        headers=headers,
    )


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    fields = [_field(item) for item in found[:MOST_MISTAKES]]
    detail = _sentence(fields, len(found))
    return answer(request, status=422, code="invalid", detail=detail, fields=fields)


def words_of(error: RequestValidationError | ValidationError) -> str:
    """Say in words what is wrong with an input."""
    found = error.errors()
    return _sentence([_field(item) for item in found[:NAMED]], len(found))


NAMED = 3
"""Mistakes that are enough for a sentence."""


def _sentence(fields: FieldErrors, count: int) -> str:
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in fields[:NAMED])
    if count > MOST_MISTAKES:
        return f"{detail}; and more"
    return detail + (f"; and {count - NAMED} more" if count > NAMED else "")


async def _of_disconnect(request: Request, _error: Exception) -> Response:
    # nobody reads it; the metrics count it
    detail = "The connection was closed before the end of the body."
    return answer(request, status=400, code="malformed_body", detail=detail)


async def _of_bug(request: Request, error: Exception) -> Response:
    # the body is never logged: it is the user's data
    log.error(Event.REQUEST_FAILED, path=request.url.path, exc_info=error)
    detail = "The service failed; its log has the reason."
    # it is written outside of all middleware
    return answer(request, status=500, code="internal", detail=detail, headers=ALWAYS)


def _field(item: Mapping[str, Any]) -> dict[str, Any]:
    """Say where an input is wrong, what is wrong, and what would be right."""
    kind, path = item["type"], list(item["loc"])
    place = path[0] if path and path[0] in {"body", "query", "path", "header"} else "body"
    names = path[1:] if path and path[0] == place else path
    field = cut(_join(names) or place)
    message = cut(MESSAGES.get(kind, item["msg"].removeprefix("Value error, ")))
    found = {"field": field, "in": place, "code": kind, "message": message}
    if kind == "extra_forbidden":
        name = str(names[-1])
        found["message"] = f"{cut(name)!r} is not a field"
        known = ProgramQuery.model_fields if place == "query" else FIELDS
        if hint := suggest(name, tuple(known)):
            found["hint"] = f"did you mean {hint!r}?"
    return found


MESSAGES = {
    "model_attributes_type": "a JSON object is needed",
    "dict_type": "a JSON object is needed",
    "list_type": "a JSON list is needed",
    "missing": "this is required",
    "timezone_aware": "a moment needs a zone, as in 2027-01-31T08:00:00Z",
}
"""Pydantic's words, where ours are plainer."""

FIELDS = (
    "jobs",
    "program_data",
    "job_data",
    "start_at",
    "labels",
    "programs",
    "from_step",
    "notify",
    "url",
    "timeout_s",
    "queue",
    "retry",
    "max_concurrency",
    "secret",
    "cancel_url",
    "overlap_s",
)
"""The fields of all request bodies, for hints on misspelt ones."""


def suggest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that was probably meant: `jobsData` is `job_data`."""
    if len(name) > MOST_HINTED:
        return None
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    if snake in known:
        return snake
    likely = known
    if len(known) > MOST_COMPARED:  # names of about the same length are the closest
        likely = sorted(known, key=lambda each: abs(len(each) - len(snake)))[:MOST_COMPARED]
    close = get_close_matches(snake, likely, n=1, cutoff=0.6)
    return close[0] if close else None


def _join(path: Sequence[Any]) -> str:
    """Write a path as people do: `programs[3].jobs[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
