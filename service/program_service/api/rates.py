"""Rates: how many requests each API key may make, told in headers.

The fields are those of draft-ietf-httpapi-ratelimit-headers-09: `RateLimit-Policy` says the quota
`q` and its window `w` in seconds, `RateLimit` what remains, `r`, and in how many seconds, `t`, it
is whole again.
"""

import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from program_service.api.problems import Problem
from program_service.api.quotas import Quota

POLICY = "key"
"""The name of the policy."""

FIELDS = "program_executor.rate_limit"
"""Where a request's scope has the header fields of its answer."""


class Rates:
    """What each key has left. Probes, callbacks and pages ask for no key, and are not counted."""

    def __init__(self, *, most: int, window_s: int) -> None:
        """Let each key make so many requests in a window."""
        # callers are as many as there are keys: none is ever forgotten
        self._quota = Quota(most, window_s)
        self._policy = f'"{POLICY}";q={most};w={window_s}'.encode()

    def spend(self, request: Request, key_name: str) -> None:
        """Count a request.

        Raises:
            Problem: it is one too many.
        """
        left = self._quota.spend(key_name, time.monotonic())
        request.scope[FIELDS] = [
            (b"ratelimit-policy", self._policy),
            (b"ratelimit", f'"{POLICY}";r={left.remaining};t={left.reset_s}'.encode()),
        ]
        if left.overdrawn:
            detail = (
                f"This key may make {self._quota.most} requests in {self._quota.window_s} s;"
                f" wait {left.reset_s} s."
            )
            raise Problem(429, "rate_limited", detail, headers={"Retry-After": str(left.reset_s)})


class RateTold:
    """Say in every answer to a key what it has left, as plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and tell."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *scope.get(FIELDS, ())]
            await send(message)

        await self._app(scope, receive, told)
