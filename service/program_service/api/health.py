"""Health: what probes and Prometheus ask for."""

from fastapi import APIRouter, Request, Response

from program_service.api.contract.answers import FailingModel, LivenessModel, ReadinessModel
from program_service.api.responses import json_response
from program_service.api.services import Serving
from program_service.bookkeeping.errors import BookkeepingError, StatementRejected

router = APIRouter(tags=["health"])

TEXT = {"schema": {"type": "string"}}


@router.head("/livez", include_in_schema=False)  # some monitors send it
@router.get(
    "/livez",
    operation_id="live",
    summary="Does the process live?",
    responses={
        200: {"model": LivenessModel, "description": "It does."},
        503: {"model": FailingModel, "description": "A loop keeps failing: restart the process."},
    },
)
async def livez(services: Serving) -> Response:
    """Answer while the process lives and no background loop has failed for minutes."""
    if services.supervisor.is_alive:
        return json_response({"status": "ok"})
    report = services.supervisor.report
    return json_response({"status": "failing", "loops": report}, status=503)


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="ready",
    summary="Can the service serve?",
    responses={
        200: {"model": ReadinessModel, "description": "It can, though perhaps without its broker."},
        503: {"model": ReadinessModel, "description": "It cannot."},
    },
)
async def readyz(services: Serving) -> Response:
    """Check database, migrations, loops and broker; a missing broker leaves it ready, degraded.

    The broker is not waited for: this says how it was the last time. However many ask, the database
    is asked by one of them at a time.
    """
    checks = {"database": "ok", "migrations": "ok", "broker": "ok"}
    checks["loops"] = services.supervisor.report
    try:
        if not await services.is_migrated.recent():
            checks["migrations"] = "missing: run `program-executor migrate`"
    except StatementRejected as error:
        checks |= {"database": str(error), "migrations": "unknown"}
    except BookkeepingError as error:
        reason = type(error.__cause__ or error).__name__
        checks |= {"database": f"down: {reason}", "migrations": "unknown"}
    broker = services.monitor.health
    if broker.trouble is not None:
        checks["broker"] = (
            f"{broker.trouble}: programs are accepted, and run when it is back"
            f" (checked {broker.age_s:.0f} s ago)"
        )
    is_ready = checks["database"] == checks["migrations"] == checks["loops"] == "ok"
    is_degraded = checks["broker"] != "ok"
    if is_ready and (rejected := services.database.complaints.rejected):
        # what needs the privilege that is missing waits; the rest is served
        checks["database"], is_degraded = rejected, True
    status = "degraded" if is_ready and is_degraded else "ok" if is_ready else "unready"
    return json_response({"status": status, "checks": checks}, status=200 if is_ready else 503)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "The text format of Prometheus, or OpenMetrics.",
            "content": {"text/plain": TEXT, "application/openmetrics-text": TEXT},
        }
    },
)
async def metrics(request: Request, services: Serving) -> Response:
    """Return the metrics; OpenMetrics when the Accept header asks for it."""
    await services.gauges.refresh()
    text, media_type = services.metrics.written(request.headers.get("accept", ""))
    return Response(text, media_type=media_type)
