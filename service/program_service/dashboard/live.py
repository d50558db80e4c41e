"""Live: streams that tell an open page to look again; they carry no data."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent

from program_service.api.events import may_go_on, states
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import Found, PageRoute, Viewer
from program_service.dashboard.pages import ONE, PREFIX

router = APIRouter(route_class=PageRoute, include_in_schema=False)

LOOK = ServerSentEvent(raw_data="look", event="change")


@router.get(f"{PREFIX}/feed", response_class=EventSourceResponse)
async def watch_all(board: Boarding, caller: Viewer) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change."""
    async for _ in board.feed.changes():
        if not await may_go_on(board.services, caller):
            return
        yield LOOK


@router.get(f"{ONE}/feed", response_class=EventSourceResponse)
async def watch_one(
    caller: Viewer, program: Found, board: Boarding
) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change of a program, until it has ended."""
    async for state in states(board.services, program):
        if not await may_go_on(board.services, caller):
            return
        if state is not program:
            yield LOOK
