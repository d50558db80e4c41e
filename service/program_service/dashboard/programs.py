"""Programs: the list, by filters that stand in its address."""

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from program_service.bookkeeping.ledger.reading import Page, list_programs
from program_service.bookkeeping.ledger.registry import list_jobs
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, Viewer
from program_service.dashboard.filters import CHOICES, WITHIN, Filtering, told_of
from program_service.dashboard.pages import LIST, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of programs, and the names that the form offers."""

    page: Page
    jobs: list[str]
    queues: list[str]


@router.get(LIST)
async def list_page(
    request: Request, board: Boarding, filters: Filtering, caller: Viewer
) -> Response:
    """Show programs, newest first or oldest, by pages."""
    now = datetime.now(UTC)

    async def read() -> Listing:
        database = board.services.database
        found = await board.services.searches.read(
            list_programs,
            filters.as_filter(now).within(caller.bounds),
            limit=PAGE_ROWS,
            cursor=filters.cursor,
        )
        jobs = await database.read(list_jobs)
        return Listing(found, [job.name for job in jobs], sorted({job.queue for job in jobs}))

    listing = await board.readings.share(
        f"list {caller.bounds} {sorted(filters.given().items())}", read
    )
    return page(
        request,
        "programs.html",
        filters=filters,
        listing=listing,
        choices=CHOICES,
        within=list(WITHIN),
        now=now,
        done=told_of(request),
    )
