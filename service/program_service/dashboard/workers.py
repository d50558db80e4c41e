"""Workers: who lives, and what each is doing."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, Viewer
from program_service.dashboard.pages import PREFIX, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(f"{PREFIX}/workers")
async def workers_page(request: Request, board: Boarding, caller: Viewer) -> Response:
    """Show the live workers."""
    del caller
    workers = await board.readings.share("workers", board.services.live_workers)
    return page(request, "workers.html", workers=workers, now=datetime.now(UTC))
