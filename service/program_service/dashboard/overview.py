"""Overview: how the deployment is, at one glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from program_service.api.services import Services
from program_service.bookkeeping.ledger.figures import (
    JobFigures,
    Minute,
    Overview,
    counts_by_status,
    job_figures,
    throughput,
    top_failing,
)
from program_service.bookkeeping.lifecycle import Status
from program_service.dashboard.bars import bars
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, Viewer
from program_service.dashboard.health import Vitals, health
from program_service.dashboard.pages import LIST, page, redirect

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MINUTES = 60


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything that the overview shows."""

    counts: Overview
    minutes: Sequence[Minute]
    failing: Sequence[JobFigures]
    vitals: Vitals


@router.get("/")
async def overview(request: Request, board: Boarding, caller: Viewer) -> Response:
    """Show health, counts, the last hour, what waits, who works, and what fails."""
    if caller.label is not None:  # it shows what all programs do
        return redirect(request, LIST)
    glance = await board.readings.share("overview", lambda: _glance(board.services))
    level, sentence = health(glance.vitals)
    return page(
        request,
        "overview.html",
        level=level,
        sentence=sentence,
        glance=glance,
        bars=bars(glance.minutes),
        now=datetime.now(UTC),
    )


async def _glance(services: Services) -> Glance:
    database = services.database
    minutes = await database.read(throughput, minutes=MINUTES)
    failing = top_failing(await database.read(job_figures, hours=1))
    counts = await database.read(counts_by_status)
    broker = services.monitor.health
    vitals = Vitals(
        has_broker=broker.trouble is None,
        broker_trouble=broker.trouble or "",
        workers=await services.live_workers(),
        ages_s=(await services.gauges.read()).backlog.due_ages_s,
        finished=counts.ended_in_hour[Status.FINISHED],
        errored=counts.ended_in_hour[Status.ERRORED],
    )
    return Glance(counts, minutes, failing, vitals)
