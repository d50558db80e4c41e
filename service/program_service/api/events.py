"""Events: one program's changes, live, as Server-Sent Events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from program_service.api.auth import Caller, Requires, Scope
from program_service.api.programs import Reader, RunId
from program_service.api.responses import etag, problems
from program_service.api.seen import find_seen, shown_to
from program_service.api.services import Services, Serving
from program_service.api.views import show
from program_service.bookkeeping.errors import DatabaseUnavailable, ProgramNotFound
from program_service.bookkeeping.ledger.reading import Program, find

router = APIRouter(prefix="/programs", tags=["programs"])

AWAY_PAUSE_S = 1.0

WAIT_S = 3600.0
"""How long a stream waits for one change; then it asks again."""


async def found(run_id: RunId, services: Serving, caller: Reader) -> Program:
    """Find the program before the stream begins, so that a wrong id is a 404."""
    return await find_seen(services, run_id, caller)


async def may_go_on(services: Services, caller: Caller) -> bool:
    """Say whether a stream still has a listener with a good key; wait for a database that is away.

    Who was let in an hour ago may have lost the key since.
    """
    while not services.waiting.is_closed:
        try:
            return await services.authenticator.is_still_good(caller)
        except DatabaseUnavailable:
            await asyncio.sleep(AWAY_PAUSE_S)
    return False


async def states(services: Services, program: Program) -> AsyncIterator[Program]:
    """Yield a program as it was found and after each change, until it or this process ends."""
    yield program
    while not program.status.is_final:
        await services.waiting.wait(program.run_id, beyond=program.version, timeout_s=WAIT_S)
        if services.waiting.is_closed:
            return
        try:
            program = await services.database.read(find, program.run_id)
        except ProgramNotFound:
            return
        except DatabaseUnavailable:  # the stream outlasts that
            await asyncio.sleep(AWAY_PAUSE_S)
        else:
            yield program


@router.get(
    "/{run_id}/events",
    operation_id="watch_program",
    summary="Watch a program",
    response_class=EventSourceResponse,
    dependencies=[Depends(Requires(Scope.READ))],  # before the program is looked for
    responses={200: {"description": "Events named `program`."}, **problems(404)},
)
async def watch_program(
    program: Annotated[Program, Depends(found)],
    services: Serving,
    caller: Reader,
    last_event_id: Annotated[
        str | None,
        Header(
            description="The `id` of the last event that was heard; it is not sent again.",
            examples=["2-running"],
        ),
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send the program now and after each change; the stream ends after the final state.

    Changes that follow each other at once may come as one event: each carries the whole state.
    """
    seen = last_event_id
    async for state in states(services, program):
        if not await may_go_on(services, caller):
            return
        tag = etag(state).strip('"')
        if tag != seen:
            (shown,) = await shown_to(services, caller, [state])
            yield _event(shown, tag)
            seen = tag


def _event(program: Program, tag: str) -> ServerSentEvent:
    data = orjson.dumps(show(program), default=str, option=orjson.OPT_UTC_Z).decode()
    return ServerSentEvent(raw_data=data, event="program", id=tag)
