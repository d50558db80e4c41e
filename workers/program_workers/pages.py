"""Pages: what probes and Prometheus ask of a worker; served by Starlette alone."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from program_service.telemetry import Metrics


def pages(is_ready: Callable[[], bool], metrics: Metrics) -> Starlette:
    """Make the application with /livez, /readyz and /metrics."""

    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        ready = is_ready()
        return JSONResponse(
            {"status": "ok" if ready else "unready"}, status_code=200 if ready else 503
        )

    async def show_metrics(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
    ]
    return Starlette(routes=routes)
