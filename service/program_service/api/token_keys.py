"""Token keys over HTTP: rotate what callback tokens are signed with."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from program_service.api.actors import Actor, acting
from program_service.api.auth import Scope
from program_service.api.bodies import KeyedRoute
from program_service.api.contract.answers import TokenKeysModel
from program_service.api.responses import json_response, problems
from program_service.api.schemas import TokenKeyRotationRequest
from program_service.api.services import Serving
from program_service.bookkeeping.ledger import token_keys as ledger
from program_service.logs import log
from program_service.telemetry import Event
from program_service.webhooks.tokens import new_token_key

router = APIRouter(tags=["jobs and workers"], route_class=KeyedRoute)


@router.post(
    "/token-keys/rotate",
    operation_id="rotate_token_key",
    summary="Rotate the key of callback tokens",
    responses={
        200: {"model": TokenKeysModel, "description": "The keys that are valid, newest first."},
        **problems(400, 409, 413, 415),
    },
)
async def rotate_token_key(
    services: Serving,
    actor: Annotated[Actor, Depends(acting(Scope.ADMIN))],
    body: TokenKeyRotationRequest | None = None,
) -> Response:
    """Sign the links of calls with a new key; links that are signed already stay valid a while."""
    wanted = body or TokenKeyRotationRequest()
    # made before the first try: a second one must not make another (rule R4)
    secret, overlap = new_token_key(), timedelta(seconds=wanted.overlap_s)
    entry = actor.entry("token_key_rotated", overlap_s=wanted.overlap_s)
    keys = await services.database.transact(
        ledger.rotate_token_key, secret, overlap=overlap, entry=entry
    )
    await services.tokens.forget()
    by, client = actor.by, actor.client
    log.info(Event.AUDIT_TOKEN_KEY_ROTATED, overlap_s=wanted.overlap_s, by=by, client=client)
    shown = [
        {"number": key.id, "created_at": key.created_at, "expires_at": key.expires_at}
        for key in keys
    ]
    return json_response({"keys": shown})
