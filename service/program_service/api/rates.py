"""Rates: how many requests each API key may make, told in headers, as plain ASGI.

The fields are those of draft-ietf-httpapi-ratelimit-headers-09: `RateLimit-Policy` says the quota
`q` and its window `w` in seconds, `RateLimit` what remains, `r`, and in how many seconds, `t`, it
is whole again.
"""

import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from program_service.api.auth import Keyring
from program_service.api.problems import answer
from program_service.api.quotas import Quota

POLICY = "key"
"""The name of the policy."""

UNLIMITED = ("/livez", "/readyz", "/metrics", "/openapi.json", "/callbacks/", "/ui/")
"""What has no key, and the pages, which people look at."""


class RateLimited:
    """Refuse what a key asks beyond its quota; it is put in only where there is one."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring, most: int, window_s: int) -> None:
        """Wrap an application."""
        self._app = app
        self._keyring = keyring
        # callers are as many as there are keys: none is ever forgotten
        self._quota = Quota(most, window_s)
        self._policy = f'"{POLICY}";q={most};w={window_s}'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and say in headers what is left."""
        caller = None
        if scope["type"] == "http" and not _is_unlimited(scope):
            request = Request(scope)
            caller = self._keyring.caller(request.headers.get("authorization"))
        if caller is None:  # strangers are refused further in
            await self._app(scope, receive, send)
            return
        left = self._quota.spend(caller.name or "", time.monotonic())
        fields = [
            (b"ratelimit-policy", self._policy),
            (b"ratelimit", f'"{POLICY}";r={left.remaining};t={left.reset_s}'.encode()),
        ]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *fields]
            await send(message)

        if not left.overdrawn:
            await self._app(scope, receive, told)
            return
        detail = (
            f"This key may make {self._quota.most} requests in {self._quota.window_s} s;"
            f" wait {left.reset_s} s."
        )
        refused = answer(
            request,
            status=429,
            code="rate_limited",
            detail=detail,
            headers={"Retry-After": str(left.reset_s)},
        )
        await refused(scope, receive, told)


def _is_unlimited(scope: Scope) -> bool:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path == "/" or path.startswith(UNLIMITED)
