"""Tickets: verify the token of a callback before its body is read, and mostly without a look-up.

A token that the deployment's key has signed is verified from memory. One of the release before is
verified by the key of its job, from a list of all endpoints. Whatever comes, each list is read by
one request at a time, once in a second at most.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request, Response

from program_service.api.bodies import StrictRoute
from program_service.api.problems import Problem
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import Job, list_endpoints
from program_service.bookkeeping.ledger.token_keys import (
    TokenKey,
    list_token_keys,
    signs_for_endpoints,
)
from program_service.bookkeeping.shared import Shared
from program_service.webhooks.tokens import BadToken, Signed, read_token

KEEP_S = 2.0
"""How long a list of keys is good: so long after a rotation an ended key may still verify."""

REST_S = 1.0
"""Forged tokens name keys and jobs that are in no list: it is read again for them so often."""

VERIFIED = "program_executor.verified_token"
"""Where a request's scope has the token, once it is verified."""


class TokenVerifier:
    """What tokens are verified with."""

    def __init__(self, database: Database) -> None:
        """Read nothing yet."""
        self._keys = Shared[list[TokenKey]](
            partial(database.read, list_token_keys), keep_s=KEEP_S, rest_s=REST_S
        )
        self._endpoints = Shared[list[Job]](
            partial(database.read, list_endpoints), keep_s=KEEP_S, rest_s=REST_S
        )

    async def verified(self, token: str) -> Signed:
        """Read a token, and say that it is genuine.

        Raises:
            BadToken: it is not.
            DatabaseUnavailable: nothing is known to verify it with.
        """
        signed = read_token(token)
        if signed.key_id is None:
            is_genuine = await self._is_of_endpoint(signed)
        else:
            is_genuine = await self._is_of_deployment(signed)
        if not is_genuine:
            raise BadToken
        return signed

    async def forget(self) -> None:
        """Read the keys again: they were rotated."""
        await self._keys.newer()

    async def _is_of_deployment(self, signed: Signed) -> bool:
        def is_there(keys: list[TokenKey]) -> bool:
            return any(key.id == signed.key_id for key in keys)

        keys = await self._keys.recent(is_there)
        return any(key.id == signed.key_id and signed.is_of(key.secret) for key in keys)

    async def _is_of_endpoint(self, signed: Signed) -> bool:
        def is_signed_by_one(jobs: list[Job]) -> bool:
            return any(
                job.name == signed.job
                and job.endpoint is not None
                and signed.is_of(job.endpoint.token_key)
                for job in jobs
            )

        if not signs_for_endpoints(await self._keys.recent()):
            return False
        # a job may be new, or registered again with another key
        return is_signed_by_one(await self._endpoints.recent(is_signed_by_one))


class TokenRoute(StrictRoute):
    """A strict route for those who have a token: whoever has none learns nothing of the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Verify the token first."""
        handler = super().get_route_handler()

        async def verified(request: Request) -> Response:
            services = request.app.state.services
            try:
                signed = await services.tokens.verified(request.path_params["token"])
            except BadToken:
                services.strangers.note(request, "token")
                raise bad_token() from None
            request.scope[VERIFIED] = signed
            return await handler(request)

        return verified


def bad_token() -> Problem:
    """Say that a token is none of ours."""
    detail = "This is no token of this service; use the links of a call as they are."
    return Problem(404, "bad_token", detail)
