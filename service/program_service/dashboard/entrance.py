"""Entrance: who may see the pages, and that only these pages' own forms steer anything."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from program_service.api.actors import MAX_REASON, Actor
from program_service.api.auth import ANYBODY, Caller, Scope
from program_service.api.problems import Problem, status_of, words_of
from program_service.api.programs import RunId
from program_service.api.seen import find_seen
from program_service.api.services import Services
from program_service.api.sites import refuse_other_sites
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.reading import Program
from program_service.dashboard import sessions
from program_service.dashboard.pages import PREFIX, here_of, page, redirect
from program_service.logs import log
from program_service.telemetry import Event

SIGN_IN = f"{PREFIX}/sign-in"
MOST_FIELDS = 1000


class SignInNeeded(Exception):
    """Nobody whom we know asks; the sign-in page is where to go."""


class PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def paged(request: Request) -> Response:
            try:
                return await handler(request)
            except SignInNeeded:
                to_sign_in = redirect(request, SIGN_IN, to=here_of(request))
                sessions.forget_cookies(request, to_sign_in)
                return to_sign_in
            except Problem as error:
                page_of_it = _error_page(request, error.status_code, str(error.detail))
                page_of_it.headers.update(error.headers or {})
                return page_of_it
            except RequestValidationError as error:
                return _error_page(request, 422, words_of(error))
            except BookkeepingError as error:
                return _error_page(request, status_of(error), str(error))

        return paged


def _error_page(request: Request, status: int, words: str) -> Response:
    return page(request, "error.html", status=status, code=status, words=words)


def allows(*scopes: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that lets only callers with these scopes through."""

    async def check(request: Request) -> Caller:
        caller = await sessions.caller_of(request)
        if caller is None:
            if sessions.cookie_of(request):
                request.app.state.services.strangers.note(request, "cookie")
            raise SignInNeeded
        request.state.caller = caller
        for scope in scopes:
            caller.require(scope)
        return caller

    return check


async def steersman(
    request: Request, caller: Annotated[Caller, Depends(allows(Scope.READ, Scope.OPERATE))]
) -> Actor:
    """Say who steers: pages show what is steered, so it takes reading, too."""
    return Actor.of(request, caller)


async def from_our_pages(request: Request) -> None:
    """Refuse what another site's page sends in the name of whoever is signed in here.

    Raises:
        Problem: it comes from elsewhere.
    """
    refuse_other_sites(request)


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of a field that is sent twice, the last.

    Raises:
        Problem: it has more fields than any of ours.
    """
    body = (await request.body()).decode(errors="replace")
    try:
        fields = parse_qs(body, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise Problem(422, "invalid", f"A form has at most {MOST_FIELDS} fields.") from error
    return {name: values[-1] for name, values in fields.items()}


def because(actor: Actor, form: dict[str, str]) -> Actor:
    """Return who acts, for the reason that a form gives."""
    reason = form.get("reason", "").replace("\x00", "").strip()[:MAX_REASON]
    return replace(actor, reason=reason or None)


Form = Annotated[dict[str, str], Depends(form_of)]
Viewer = Annotated[Caller, Depends(allows(Scope.READ))]
Steersman = Annotated[Actor, Depends(steersman)]
Sender = Annotated[Caller, Depends(allows(Scope.READ, Scope.SUBMIT))]


async def found_by(
    run_id: RunId,
    request: Request,
    caller: Annotated[Caller, Depends(allows(Scope.READ))],
) -> Program:
    """Find the program of a page, after it is known who asks."""
    return await find_seen(request.app.state.services, run_id, caller)


async def who_sees_all(caller: Annotated[Caller, Depends(allows(Scope.READ))]) -> Caller:
    """Let only those through who may see all programs."""
    caller.require_unbound()
    return caller


Found = Annotated[Program, Depends(found_by)]
"""The program of a page. Strangers are asked for a key whether there is one or not."""
Overseer = Annotated[Caller, Depends(who_sees_all)]

OURS = [Depends(from_our_pages)]
"""The dependencies of every route that changes something."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(SIGN_IN)
async def ask_for_key(request: Request, to: str = "/") -> Response:
    """Show the form for a key."""
    return page(request, "sign_in.html", to=to, is_wrong=False)


@router.post(SIGN_IN, dependencies=OURS)
async def sign_in(request: Request, form: Form) -> Response:
    """Begin a session with a good key; its cookie no script can read, and no other site send."""
    key, to = form.get("key", "").strip(), form.get("to", "/")
    services: Services = request.app.state.services
    caller = await services.authenticator.caller(key) if key else None
    if caller is None:
        if key:
            services.strangers.note(request, "sign-in")
        return page(request, "sign_in.html", status=401, to=to, is_wrong=True)
    actor = Actor.of(request, caller)
    answer = redirect(request, to if _is_path(to) else "/")
    if caller is not ANYBODY:
        await sessions.begin(request, caller, answer)
    log.info(Event.AUDIT_SIGNED_IN, by=actor.by, client=actor.client)
    return answer


@router.post(f"{PREFIX}/sign-out", dependencies=OURS)
async def sign_out(request: Request) -> Response:
    """End the session, in the table, too."""
    actor = await sessions.end(request)
    if actor is not None:
        log.info(Event.AUDIT_SIGNED_OUT, by=actor.by, client=actor.client)
    answer = redirect(request, SIGN_IN)
    sessions.forget_cookies(request, answer)
    return answer


def _is_path(to: str) -> bool:
    """Say whether an address leads to a page of ours: browsers take what `//` begins for a host."""
    return to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
