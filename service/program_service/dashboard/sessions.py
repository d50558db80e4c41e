"""Sessions: a browser that is signed in has a random id in a cookie, and never the key.

Over https the cookie is named `__Host-…`, which a browser takes only with `Secure`, for this host
alone and for all paths: no page of another port or subdomain can set it. Whether a browser is on
https it says itself, by the Origin of the form that signs in, whatever proxies are in between.
"""

import secrets
from contextlib import suppress

from fastapi import Request, Response

from program_service.api.actors import Actor
from program_service.api.auth import ANYBODY, Caller, digest_of
from program_service.api.services import Services
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.api_keys import id_of
from program_service.bookkeeping.ledger.sessions import (
    NewSession,
    begin_session,
    find_session,
    see_session,
    sign_out,
)
from program_service.dashboard.pages import base_of

HOST_COOKIE = "__Host-program_executor"
PLAIN_COOKIE = "program_executor_session"
"""The names over https and over plain http."""

FORMER_COOKIE = "program_executor_key"
"""In which releases before this one kept the key itself; it is deleted where it is met."""


async def caller_of(request: Request) -> Caller | None:
    """Return who is signed in; where there are no keys, everybody is.

    Raises:
        DatabaseUnavailable: the session cannot be looked up.
    """
    services: Services = request.app.state.services
    if await services.authenticator.caller("") is ANYBODY:
        return ANYBODY
    cookie = cookie_of(request)
    if cookie is None:
        return None
    digest = digest_of(cookie)
    found = await services.database.read(
        find_session, digest, idle_s=services.settings.session_idle_s
    )
    if found is None:
        return None
    session, is_unseen = found
    if is_unseen:
        with suppress(DatabaseUnavailable):
            await services.database.transact(see_session, digest)
    return await services.authenticator.caller_of(session.key_digest)


def cookie_of(request: Request) -> str | None:
    """Return the id that a browser sends."""
    over_https = request.cookies.get(HOST_COOKIE)
    if over_https or request.url.scheme == "https":
        return over_https
    return request.cookies.get(PLAIN_COOKIE)


async def begin(request: Request, caller: Caller, answer: Response) -> None:
    """Begin a session, and hand the browser its id."""
    services: Services = request.app.state.services
    cookie = secrets.token_urlsafe(32)
    session = NewSession(digest_of(cookie), caller.digest, caller.who)
    lasts_s = services.settings.session_s
    entry = Actor.of(request, caller).entry("signed_in", target=session.id)
    await services.database.transact(begin_session, session, entry, lasts_s=lasts_s)
    is_secure = is_over_https(request)
    answer.set_cookie(
        HOST_COOKIE if is_secure else PLAIN_COOKIE,
        cookie,
        max_age=int(lasts_s),
        path="/" if is_secure else base_of(request) or "/",
        secure=is_secure,
        httponly=True,
        samesite="strict",
    )


async def end(request: Request) -> Actor | None:
    """End the session of a browser; return who it was of."""
    services: Services = request.app.state.services
    caller, cookie = await caller_of(request), cookie_of(request)
    if cookie is None:
        return None
    actor = Actor.of(request, caller) if caller else None
    digest = digest_of(cookie)
    entry = actor.entry("signed_out", target=id_of(digest)) if actor else None
    await services.database.transact(sign_out, digest, entry)
    return actor


def forget_cookies(request: Request, answer: Response) -> None:
    """Have the browser delete what it sent."""
    path = base_of(request) or "/"
    if HOST_COOKIE in request.cookies:
        answer.delete_cookie(HOST_COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    for name in (PLAIN_COOKIE, FORMER_COOKIE):
        if name in request.cookies:
            answer.delete_cookie(name, path=path, httponly=True, samesite="strict")


def is_over_https(request: Request) -> bool:
    """Say whether the browser that sends a form is on https, also behind a proxy that is not."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.lower().startswith("https://")
