"""Live: streams that tell an open page to look again; they carry no data."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from program_service.api.auth import Scope
from program_service.api.events import found, states
from program_service.bookkeeping.ledger.reading import Program
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, allows
from program_service.dashboard.pages import ONE, PREFIX

router = APIRouter(
    route_class=PageRoute, include_in_schema=False, dependencies=[Depends(allows(Scope.READ))]
)

LOOK = ServerSentEvent(raw_data="look", event="change")


@router.get(f"{PREFIX}/feed", response_class=EventSourceResponse)
async def watch_all(board: Boarding) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change."""
    async for _ in board.feed.changes():
        yield LOOK


@router.get(f"{ONE}/feed", response_class=EventSourceResponse)
async def watch_one(
    program: Annotated[Program, Depends(found)], board: Boarding
) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change of a program, until it has ended."""
    async for state in states(board.services, program):
        if state is not program:
            yield LOOK
