"""Live: streams that tell an open page to look again; they carry no data."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from program_service.api.auth import Scope
from program_service.api.events import found
from program_service.api.waiting import WAIT_S
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import PageRoute, allows
from program_service.dashboard.pages import PREFIX

router = APIRouter(
    route_class=PageRoute, include_in_schema=False, dependencies=[Depends(allows(Scope.READ))]
)

LOOK = ServerSentEvent(raw_data="look", event="change")


@router.get(f"{PREFIX}/feed", response_class=EventSourceResponse)
async def watch_all(board: Boarding) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change."""
    async for _ in board.feed.changes():
        yield LOOK


@router.get(f"{PREFIX}/programs/{{run_id:path}}/feed", response_class=EventSourceResponse)
async def watch_one(
    program: Annotated[Program, Depends(found)], board: Boarding
) -> AsyncIterator[ServerSentEvent]:
    """Tell of every change of a program, until it has ended."""
    while not program.status.is_final:
        room, version = board.services.waiting, program.version
        await room.wait(program.run_id, beyond=version, timeout_s=WAIT_S)
        try:
            program = await board.services.database.read(find, program.run_id)
        except ProgramNotFound:
            return
        yield LOOK
