"""Actors: who does something, and why, as the audit trail names them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Annotated, Any, Self

from fastapi import Depends, Query, Request

from program_service.api.auth import Caller, Requires, Scope
from program_service.bookkeeping.ledger.auditing import Entry

NOWHERE = "unknown"
MAX_REASON = 1_000

Reason = Annotated[
    str | None,
    Query(
        max_length=MAX_REASON,
        pattern=r"^[^\x00]*$",
        description="Why: it is kept in the audit trail.",
        examples=["the card was replaced"],
    ),
]


@dataclass(frozen=True, slots=True)
class Actor:
    """The name of a key, and the address that it is used from."""

    by: str
    client: str
    caller: Caller
    reason: str | None = None

    @classmethod
    def of(cls, request: Request, caller: Caller, reason: str | None = None) -> Self:
        """Say who sends a request."""
        return cls(caller.who, client_of(request), caller, reason or None)

    def entry(
        self, action: str, *, run_id: str | None = None, target: str | None = None, **detail: Any
    ) -> Entry:
        """Return what the audit trail is to say; make it before the first try."""
        return Entry(
            action,
            self.by,
            self.client,
            run_id=run_id,
            target=target,
            reason=self.reason,
            detail=detail,
        )


def acting(scope: Scope) -> Callable[[Request, Caller], Awaitable[Actor]]:
    """Return a dependency that lets only callers with this scope through, and says who they are."""

    async def actor(
        request: Request, caller: Annotated[Caller, Depends(Requires(scope))], reason: Reason = None
    ) -> Actor:
        return Actor.of(request, caller, reason)

    return actor


def client_of(request: Request) -> str:
    """Return the address that a request comes from.

    Behind a proxy uvicorn takes it from X-Forwarded-For, if FORWARDED_ALLOW_IPS names the proxy.
    """
    return plain_address(request.client.host) if request.client else NOWHERE


def plain_address(host: str) -> str:
    """Return an IPv4 address as such where a socket of both families says `::ffff:…`."""
    if not host.startswith("::ffff:"):
        return host
    try:
        mapped = IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return str(mapped) if mapped else host
