"""Bodies: JSON that every part of the system can keep, or a clear refusal."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from program_service.api.auth import Requires, permitted
from program_service.api.auth import Scope as KeyScope
from program_service.api.problems import Problem
from program_service.bookkeeping.parsing import MALFORMED
from program_service.bookkeeping.parsing import parse as parse_json
from program_service.bookkeeping.unstorable import NotStorable

JSON_TYPE = re.compile(r"application/(?:json|[\w.+-]+\+json)\s*(?:;.*)?", re.IGNORECASE)

OFF_LOOP_BYTES = 65_536
"""Bodies up to here take the event loop 10 ms at most; 1 MiB takes 0.5 s where it nests oddly."""

P = ParamSpec("P")
R = TypeVar("R")


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            Problem: it is no JSON, or holds what cannot be kept.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = await beside_the_loop(body, parse, body)
        return self._json

    async def body(self) -> bytes:
        """Read the body.

        Raises:
            Problem: it does not say that it is JSON, or is compressed.
        """
        body = await super().body()
        if body and (encoding := self.headers.get("content-encoding", "identity")) != "identity":
            detail = f"The body has the Content-Encoding {encoding!r}; send it as it is."
            headers = {"Accept-Encoding": "identity"}
            raise Problem(415, "compressed_body", detail, headers=headers)
        if body and not JSON_TYPE.fullmatch(self.headers.get("content-type", "")):
            # also a guard: a web page cannot send this type to another site without being asked
            detail = "Send the body as JSON, with the header `Content-Type: application/json`."
            raise Problem(415, "not_json", detail)
        return body


async def beside_the_loop(
    body: bytes, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Do what a long body needs in a thread, so that other requests are answered meanwhile."""
    if len(body) <= OFF_LOOP_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


class StrictRoute(APIRoute):
    """A route that reads its bodies strictly; whoever calls needs no key for that."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the handler a strict request."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


class KeyedRoute(StrictRoute):
    """A strict route for those who have a key with the scope that its dependencies require."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Look at key and scope before the body, which FastAPI reads before it asks dependencies.

        So whoever may not send one learns nothing about it.
        """
        handler, (key_scope,) = super().get_route_handler(), set(_required(self.dependant))

        async def keyed(request: Request) -> Response:
            await permitted(request, key_scope)
            return await handler(request)

        return keyed


def _required(dependant: Dependant) -> Iterator[KeyScope]:
    """Yield the scopes that a route's dependencies require."""
    if isinstance(dependant.call, Requires):
        yield dependant.call.scope
    for each in dependant.dependencies:
        yield from _required(each)


def parse(body: bytes) -> Any:
    """Parse a body strictly.

    Raises:
        Problem: it is no JSON, or holds what cannot be kept.
    """
    try:
        return parse_json(body, what="the body")
    except NotStorable as error:
        raise _problem_of(error) from error


def _problem_of(error: NotStorable) -> Problem:
    """Say where in a body is what cannot be kept."""
    status = 400 if error.code == MALFORMED else 422
    if not error.path:
        return Problem(status, error.code, f"The body {error.flaw}.")
    words = f"{error.path} {error.flaw}"
    item = {"field": error.path, "in": "body", "code": error.code, "message": error.flaw}
    is_what = "is not JSON" if error.code == MALFORMED else "cannot be stored"
    return Problem(status, error.code, f"The body {is_what}: {words}.", fields=[item])


class BodyLimit:
    """Refuse bodies over a limit while they arrive, whatever their Content-Length says."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        """Wrap an application."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                detail = f"The body is longer than {self._max_bytes} bytes."
                raise Problem(413, "body_too_large", detail, headers={"Connection": "close"})
            return message

        await self._app(scope, counted, send)
