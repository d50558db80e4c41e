"""Answer bodies: what the body of an endpoint's answer holds; read once, for worker and check."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from program_service.bookkeeping.flaws import kind_of
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.parsing import JSON_TYPE, NotJson, parse
from program_service.bookkeeping.unstorable import NotStorable

WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT}
RIGHT = "send an object such as {}, or answer 204"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body that should be a JSON object, and is none; `reason` says why."""

    reason: str
    is_empty: bool = False


def read_body(status: int, headers: Mapping[str, str], body: bytes) -> Json | Unreadable | None:
    """Return the JSON object of an answer; None if its body is no JSON, and does not say so."""
    if not body.strip():
        is_meant = _says_json(headers) and status not in WITHOUT_BODY
        return Unreadable(f"its body is empty; {RIGHT}", is_empty=True) if is_meant else None
    looks_right = body.removeprefix(BOM_UTF8).lstrip()[:1] == b"{"
    is_meant = _says_json(headers) or (looks_right and "content-type" not in headers)
    try:
        value = parse(body, what="its body")
    except NotJson as error:
        return Unreadable(str(error)) if is_meant else None
    except NotStorable as error:
        # it can be read but for one value: no other text looks like that
        return Unreadable(str(error)) if is_meant or looks_right else None
    if isinstance(value, dict):
        return value
    reason = f"its body is {kind_of(value)}, not a JSON object; {RIGHT}"
    return Unreadable(reason) if is_meant else None


def error_in(body: Json | Unreadable | None) -> Json | None:
    """Return the protocol's own error: an object with a text as its `message`.

    What frameworks answer, as `"error": "Service Unavailable"`, is none.
    """
    error = body.get("error") if isinstance(body, dict) else None
    is_ours = isinstance(error, dict) and isinstance(error.get("message"), str)
    return error if is_ours else None


def _says_json(headers: Mapping[str, str]) -> bool:
    return JSON_TYPE.fullmatch(headers.get("content-type", "").strip()) is not None
