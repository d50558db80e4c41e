"""Measured: count requests and their times by route, as plain ASGI."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from program_service.telemetry import Metrics


class Measured:
    """Count every answer of an application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        """Wrap an application."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            # the template and not the path: a run_id must never become a label
            route = getattr(scope.get("route"), "path_format", "other")
            self._metrics.requests.labels(route, scope["method"], code).inc()
            self._metrics.request_s.labels(route).observe(time.perf_counter() - began)
