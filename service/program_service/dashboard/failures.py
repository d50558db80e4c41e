"""Failures: errored programs by job and error, so that a hundred of one kind are one line."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from program_service.bookkeeping.ledger.failures import failure_groups
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, Viewer
from program_service.dashboard.filters import told_of
from program_service.dashboard.pages import PREFIX, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)

FAILURES = f"{PREFIX}/failures"


@router.get(FAILURES)
async def failures_page(request: Request, board: Boarding, caller: Viewer) -> Response:
    """Show the groups, the latest first."""
    database = board.services.database
    failures = await board.readings.share(
        f"failures {caller.bounds}",
        lambda: database.read(failure_groups, labels=caller.bounds),
    )
    return page(
        request,
        "failures.html",
        failures=failures,
        done=told_of(request),
        now=datetime.now(UTC),
    )
