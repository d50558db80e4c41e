"""Actors: who does something, as the audit log names them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from program_service.api.auth import Caller, Requires, Scope

NOWHERE = "unknown"


@dataclass(frozen=True, slots=True)
class Actor:
    """The name of a key, and the address that it is used from."""

    by: str
    client: str

    @classmethod
    def of(cls, request: Request, caller: Caller) -> Self:
        """Say who sends a request."""
        return cls(caller.who, client_of(request))


def acting(scope: Scope) -> Callable[[Request, Caller], Awaitable[Actor]]:
    """Return a dependency that lets only callers with this scope through, and says who they are."""

    async def actor(request: Request, caller: Annotated[Caller, Depends(Requires(scope))]) -> Actor:
        return Actor.of(request, caller)

    return actor


def client_of(request: Request) -> str:
    """Return the address that a request comes from.

    Behind a proxy uvicorn takes it from X-Forwarded-For, if FORWARDED_ALLOW_IPS names the proxy.
    """
    return request.client.host if request.client else NOWHERE
