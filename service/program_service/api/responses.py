"""Responses: JSON written by orjson, ETags, and what the documents say of errors."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode
from zlib import crc32

import orjson
from fastapi import Request, Response
from pydantic import BaseModel

from program_service.api.queries import PageQuery
from program_service.api.views import show
from program_service.bookkeeping.ledger.pages import (
    MAX_PAGE_BYTES,
    BadCursor,
    opaque,
    read_opaque,
)
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.lifecycle import Json, Status


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document errors that a route may answer, besides those that any may."""
    texts = {
        400: "The body is no JSON.",
        401: "No key, or an unknown one.",
        403: "The key lacks the scope.",
        404: "There is no such thing.",
        409: "The program's state does not allow it.",
        413: "The body is too long.",
        415: "The body is not sent as JSON.",
        422: "Something in the request is wrong; `errors` says what.",
        429: "Too many requests of this key, or failed tries; wait for `Retry-After` seconds.",
        503: "The database does not answer; try again after `Retry-After` seconds.",
    }
    return {
        status: {
            "description": texts[status],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/ProblemModel"}
                }
            },
        }
        for status in sorted({*statuses, 401, 403, 422, 429, 503})
    }


def json_response(
    content: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer JSON; moments are RFC 3339 in UTC with Z."""
    body = orjson.dumps(content, default=str, option=orjson.OPT_UTC_Z)
    return Response(body, status, headers=headers, media_type="application/json")


def next_link(path: str, wanted: BaseModel, cursor: str | None) -> dict[str, str]:
    """Return the header that names the next page of a list, if there is one."""
    if cursor is None:
        return {}
    return link_to(path, wanted.model_dump(mode="json", exclude_defaults=True) | {"cursor": cursor})


def link_to(path: str, query: Mapping[str, Any]) -> dict[str, str]:
    """Return the header that names the next page."""
    return {"Link": f'<{path}?{urlencode(query, doseq=True)}>; rel="next"'}


Items: TypeAlias = Mapping[tuple[str, ...], Callable[[], Json]]
"""{place in the order: what shows it}"""


def page_response(path: str, items: Items, wanted: PageQuery) -> Response:
    """Answer a page of a list that is read whole; it ends after so many bytes.

    Raises:
        BadCursor: the cursor is not one of ours.
    """
    after = _place(wanted.cursor) if wanted.cursor is not None else None
    rest = [place for place in sorted(items) if after is None or place > after]
    shown, size = list[Json](), 0
    for place in rest[: wanted.limit]:
        item = items[place]()
        size += len(orjson.dumps(item, default=str))
        if shown and size > MAX_PAGE_BYTES:
            break
        shown.append(item)
    has_more = len(shown) < len(rest)
    cursor = opaque({"after": rest[len(shown) - 1]}) if has_more else None
    content = {path.removeprefix("/"): shown, "next_cursor": cursor}
    return json_response(content, headers=next_link(path, wanted, cursor))


def _place(cursor: str) -> tuple[str, ...]:
    after = read_opaque(cursor).get("after")
    if not isinstance(after, list) or not all(isinstance(each, str) for each in after):
        raise BadCursor
    return tuple(after)


def program_response(
    program: Program, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer a program with its ETag."""
    tagged = {"ETag": etag(program), "Cache-Control": "no-cache", **(headers or {})}
    return json_response(show(program), status=status, headers=tagged)


def etag(program: Program) -> str:
    """Return the strong ETag: the version, and the status, which also changes as time passes.

    While nobody runs a program, `due_at` and `queue` may move without a version, so they are in it,
    too. While somebody does, `due_at` is the end of a lease, and its renewal is no change.
    """
    if program.status.is_final or program.status is Status.RUNNING:
        return f'"{program.version}-{program.status}"'
    place = crc32(f"{program.due_at} {program.queue}".encode())
    return f'"{program.version}-{place:08x}-{program.status}"'


def is_known(request: Request, tag: str) -> bool:
    """Say whether a conditional request has this ETag already."""
    sent = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return "*" in sent or any(part.removeprefix("W/") == tag for part in sent)
