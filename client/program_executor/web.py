"""Web: uvicorn with our bounds, for the API and for the port of a worker."""

import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from program_executor.bounded import BoundedProtocol, Bounds
from program_service.api.actors import plain_address
from program_service.logs import log
from program_service.telemetry import Event, Metrics

LOG_EVERY_TICKS = 600
"""A minute."""


DEFAULT = Bounds()


class _Unmapped:
    """Say `127.0.0.1` of a client that a socket of both families calls `::ffff:127.0.0.1`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        if client and client[0].startswith("::ffff:"):
            scope["client"] = (plain_address(client[0]), client[1])
        await self._app(scope, receive, send)


class BoundedConfig(uvicorn.Config):
    """Uvicorn's configuration, and our bounds."""

    def __init__(
        self, app: ASGIApp, bounds: Bounds, metrics: Metrics | None, *, keep_lifespan: bool
    ) -> None:
        """Take an application, and where to count what is refused."""
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="on" if keep_lifespan else "off",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        self.bounds = bounds
        self._metrics = metrics
        self._refused = Counter[str]()

    def load(self) -> None:
        """Load the application, and hand it addresses that FORWARDED_ALLOW_IPS can name."""
        super().load()
        self.loaded_app = _Unmapped(self.loaded_app)

    def note(self, reason: str) -> None:
        """Count what was refused."""
        self._refused[reason] += 1
        if self._metrics is not None:
            self._metrics.http_refused.labels(reason).inc()

    def report(self) -> None:
        """Log what was refused since this was called last, in one line however much it is."""
        if self._refused:
            log.warning(Event.HTTP_REFUSED, refused=dict(self._refused))
            self._refused.clear()


class Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: we stop it when the worker has stopped."""

    config: BoundedConfig

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Look every second for clients that take too long: no request needs a timer."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.look(now)
        if counter % LOG_EVERY_TICKS == 0:
            self.config.report()
        return await super().on_tick(counter)


def server(
    app: ASGIApp,
    *,
    bounds: Bounds = DEFAULT,
    metrics: Metrics | None = None,
    keep_lifespan: bool = True,
) -> Server:
    """Make a server for an application; it is given its socket when it serves."""
    return Server(BoundedConfig(app, bounds, metrics, keep_lifespan=keep_lifespan))
