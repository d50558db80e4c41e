"""Pages: what probes and Prometheus ask of a worker; served by Starlette alone."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from program_service.loops.supervisor import Supervisor
from program_service.telemetry import Metrics


def pages(is_ready: Callable[[], bool], supervisor: Supervisor, metrics: Metrics) -> Starlette:
    """Make the application with /livez, /readyz and /metrics."""

    async def livez(_request: Request) -> Response:
        if supervisor.is_alive:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failing", "loops": supervisor.report}, status_code=503)

    async def readyz(_request: Request) -> Response:
        ready = is_ready() and supervisor.is_ready
        content = {"status": "ok" if ready else "unready", "loops": supervisor.report}
        return JSONResponse(content, status_code=200 if ready else 503)

    async def show_metrics(request: Request) -> Response:
        text, media_type = metrics.written(request.headers.get("accept", ""))
        return Response(text, media_type=media_type)

    routes = [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
    ]
    return Starlette(routes=routes)
