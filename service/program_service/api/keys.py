"""Keys over HTTP: made, listed and revoked by `admin`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from program_service.api.access import (
    KeyListModel,
    KeyModel,
    KeyRequest,
    Limit,
    paged,
    shown_caller,
    shown_key,
)
from program_service.api.auth import ANYBODY, Caller, Scope, digest_of, new_key
from program_service.api.bodies import KeyedRoute
from program_service.api.endpoints import Admin
from program_service.api.problems import Problem
from program_service.api.responses import json_response, problems
from program_service.api.services import Services, Serving
from program_service.bookkeeping.ledger.api_keys import (
    ID_DIGITS,
    ApiKey,
    add_key,
    list_keys,
    revoke_key,
)
from program_service.bookkeeping.ledger.pages import BadCursor
from program_service.logs import log
from program_service.telemetry import Event

router = APIRouter(prefix="/keys", tags=["keys"], route_class=KeyedRoute)

KeyId = Annotated[
    str,
    Path(
        pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$",
        description="The key's id, as `GET /keys` lists it.",
        examples=["9f86d081884c7d65"],
    ),
]


@router.post(
    "",
    status_code=201,
    operation_id="make_key",
    summary="Make an API key",
    responses={
        201: {"model": KeyModel, "description": "The key, shown only now."},
        **problems(400, 409, 413, 415),
    },
)
async def make_key(body: KeyRequest, services: Serving, actor: Admin) -> Response:
    """Make a key; it is shown in this answer only, and counts in all processes at once."""
    _refuse_to_lock_out(body, actor.caller)
    # made before the first try: a second one must not make another (rule R4)
    key = new_key(body.name)
    wanted = ApiKey(
        digest_of(key),
        body.name,
        [scope.value for scope in Scope if scope in body.scopes],
        label=body.label_pair,
        expires_at=body.expires_at,
    )
    entry = actor.entry(
        "key_made",
        target=wanted.id,
        name=body.name,
        scopes=list(wanted.scopes),
        label=body.label,
    )
    made = await services.database.transact(add_key, wanted, entry)
    by, client = actor.by, actor.client
    log.info(Event.AUDIT_KEY_MADE, key_id=made.id, key_name=made.name, by=by, client=client)
    await services.authenticator.read()
    return json_response(shown_key(made) | {"key": key}, status=201)


@router.get(
    "",
    operation_id="list_keys",
    summary="List API keys",
    responses={200: {"model": KeyListModel, "description": "A page."}, **problems()},
)
async def get_keys(
    services: Serving,
    actor: Admin,
    limit: Limit = 200,
    cursor: Annotated[
        str | None, Query(max_length=400, description="From the Link header of the page before.")
    ] = None,
) -> Response:
    """List the keys of the setting and of the table that were not revoked, by name."""
    del actor
    keys = [shown_caller(each) for each in services.authenticator.keyring.callers.values()]
    stored = await services.database.read(list_keys)
    keys += [shown_key(key) for key in stored if key.revoked_at is None]
    keys.sort(key=_place)
    if cursor is not None:
        name, is_pair, key_id = cursor.rpartition(":")
        if not is_pair:
            raise BadCursor
        keys = [key for key in keys if _place(key) > (name, key_id)]
    page = keys[:limit]
    next_cursor = ":".join(_place(page[-1])) if len(keys) > limit else None
    return paged("/keys", page, next_cursor, limit=limit)


@router.delete(
    "/{key_id}",
    status_code=204,
    operation_id="revoke_key",
    summary="Revoke an API key",
    responses={204: {"description": "It is refused from now on."}, **problems(404, 409)},
)
async def remove_key(key_id: KeyId, services: Serving, actor: Admin) -> Response:
    """Revoke a key and end its sessions; other processes refuse it after ten seconds at most."""
    _refuse_key_of_setting(services, key_id)
    entry = actor.entry("key_revoked", target=key_id)
    await services.database.transact(revoke_key, key_id, entry)
    log.info(Event.AUDIT_KEY_REVOKED, key_id=key_id, by=actor.by, client=actor.client)
    await services.authenticator.read()
    return Response(status_code=204)


def _place(key: dict[str, Any]) -> tuple[str, str]:
    return key["name"], key["id"]


def _refuse_to_lock_out(body: KeyRequest, caller: Caller) -> None:
    """Require of the first key of an open service that its owner can make others.

    Raises:
        Problem: from this key on, nobody could make another.
    """
    if caller is ANYBODY and (Scope.ADMIN not in body.scopes or body.expires_at is not None):
        detail = (
            "This service has no keys, and only callers with a key are let in from the first one"
            " on: make one with the scope 'admin' and without an expiry first."
        )
        raise Problem(409, "first_key", detail)


def _refuse_key_of_setting(services: Services, key_id: str) -> None:
    digests = services.authenticator.keyring.callers
    if any(digest.startswith(key_id) for digest in digests):
        detail = (
            f"The key {key_id!r} is in the setting API_KEYS of this service: take it out there, and"
            " start the service again."
        )
        raise Problem(409, "key_of_setting", detail)
