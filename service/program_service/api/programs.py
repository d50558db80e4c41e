"""Programs: submit, follow, cancel and resume."""

import asyncio
import re
from contextlib import suppress
from math import ceil
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from program_service.api.actors import Actor, acting
from program_service.api.auth import Caller, Requires, Scope
from program_service.api.authenticator import require_still_good
from program_service.api.bodies import KeyedRoute
from program_service.api.intents import new_programs, traceparent_of
from program_service.api.problems import Problem
from program_service.api.queries import AttemptQuery, ProgramQuery
from program_service.api.responses import (
    etag,
    is_known,
    json_response,
    next_link,
    problems,
    program_response,
)
from program_service.api.schemas import BatchRequest, ProgramRequest, ResumeRequest
from program_service.api.seen import as_steered_by, find_seen, require_seen, shown_to
from program_service.api.services import Services, Serving
from program_service.api.steering import cancel_now, resume_now
from program_service.api.submit_route import SubmitRoute
from program_service.api.views import (
    AttemptListModel,
    BatchModel,
    ProgramListModel,
    ProgramModel,
    show_listed,
)
from program_service.bookkeeping.errors import DatabaseUnavailable, ProgramNotFound
from program_service.bookkeeping.ledger.attempts import page_of_attempts
from program_service.bookkeeping.ledger.keys import Mismatched, Replayed
from program_service.bookkeeping.ledger.reading import Program, find, list_programs
from program_service.bookkeeping.ledger.submitting import as_program

router = APIRouter(prefix="/programs", tags=["programs"], route_class=KeyedRoute)
submitting = APIRouter(prefix="/programs", tags=["programs"], route_class=SubmitRoute)

RunId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00]*$",
        description="The program's id.",
        examples=["019a8f3c-6f27-730f-bd71-396620658ecc"],
    ),
]
Submitter = Annotated[Caller, Depends(Requires(Scope.SUBMIT))]
Reader = Annotated[Caller, Depends(Requires(Scope.READ))]
Operator = Annotated[Actor, Depends(acting(Scope.OPERATE))]

WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)

RECEIPT = "A key without `read` gets a receipt: all but its id, status and times is empty."

LAST_READ_S = 1.0
"""For the answer to those who wait when the process ends."""


@submitting.post(
    "",
    status_code=201,
    operation_id="submit_program",
    summary="Submit a program",
    responses={
        200: {"model": ProgramModel, "description": "The same key and body came before."},
        201: {"model": ProgramModel, "description": "The program is stored and will run."},
        **problems(400, 413, 415),
    },
)
async def submit_program(
    body: ProgramRequest,
    services: Serving,
    caller: Submitter,
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The same key and body answers the same program; 1 to 255 printable"
            " characters, quoted or bare.",
            max_length=300,
            examples=['"order-1"'],
        ),
    ] = None,
) -> Response:
    """Store a program and have it run; 201 means that it is committed."""
    (new,) = await new_programs(
        services, [body], caller, traceparent=traceparent_of(request), key=idempotency_key
    )
    result = await services.submissions.submit(new)
    if isinstance(result, Replayed):
        with suppress(ProgramNotFound):
            return await _replayed(services, result)
        # it was deleted since, and so its key is free
        result = await services.submissions.submit(new)
    if isinstance(result, Mismatched):
        raise result.error
    if isinstance(result, Replayed):
        return await _replayed(services, result)
    program = services.redaction.program(as_program(new, result))
    location = f"/programs/{program.run_id}"
    return program_response(program, status=201, headers={"Location": location})


async def _replayed(services: Services, replayed: Replayed) -> Response:
    program = await services.database.read(find, replayed.run_id)
    shown = services.redaction.program(program)
    return program_response(shown, headers={"Idempotent-Replayed": "true"})


@submitting.post(
    "/batch",
    status_code=201,
    operation_id="submit_programs",
    summary="Submit programs together",
    responses={
        201: {"model": BatchModel, "description": "All programs are stored."},
        **problems(400, 413, 415),
    },
)
async def submit_batch(
    body: BatchRequest,
    services: Serving,
    caller: Submitter,
    request: Request,
) -> Response:
    """Store 1 to 1,000 programs in one transaction: all or nothing."""
    if "idempotency-key" in request.headers:
        detail = "Idempotency-Key works for POST /programs only; submit these programs one by one."
        raise Problem(422, "idempotency_not_for_batches", detail)
    new = await new_programs(
        services,
        body.programs,
        caller,
        traceparent=traceparent_of(request),
        place="programs[{}].",
    )
    await services.submissions.submit_all(new)
    return json_response({"programs": [{"run_id": each.run_id} for each in new]}, status=201)


@router.get(
    "/{run_id:run}",
    operation_id="get_program",
    summary="Follow a program",
    responses={
        200: {"model": ProgramModel, "description": "The program."},
        304: {"description": "The program is as the ETag says."},
        **problems(404),
    },
)
async def get_program(
    run_id: RunId,
    services: Serving,
    caller: Reader,
    request: Request,
    prefer: Annotated[
        str | None,
        Header(description="`wait=20` holds until the program has ended.", examples=["wait=20"]),
    ] = None,
) -> Response:
    """Return a program as it stands now."""
    program = await find_seen(services, run_id, caller)
    headers = {}
    if prefer and (match := WAIT.search(prefer)):
        wait_s = min(float(match[1]), services.settings.max_wait_s)
        program = await _until_final(services, program, wait_s)
        await require_still_good(services.authenticator, caller)
        headers["Preference-Applied"] = f"wait={ceil(wait_s)}"
    if is_known(request, etag(program)):
        kept = {"ETag": etag(program), "Cache-Control": "no-cache"}
        return Response(status_code=304, headers={**kept, **headers})
    (shown,) = await shown_to(services, caller, [program])
    return program_response(shown, headers=headers)


async def _until_final(services: Services, program: Program, wait_s: float) -> Program:
    """Wait until the program has ended, or the time is over."""
    if program.status.is_final:
        return program
    await services.waiting.wait(program.run_id, timeout_s=wait_s)
    if not services.waiting.is_closed:
        return await services.database.read(find, program.run_id)
    # the process ends, and does not wait for a database that may be away
    with suppress(DatabaseUnavailable, TimeoutError):
        async with asyncio.timeout(LAST_READ_S):
            return await services.database.read(find, program.run_id)
    return program


@router.get(
    "",
    operation_id="list_programs",
    summary="List programs",
    responses={200: {"model": ProgramListModel, "description": "A page."}, **problems()},
)
async def list_all(
    wanted: Annotated[ProgramQuery, Query()], services: Serving, caller: Reader
) -> Response:
    """List programs, newest first or `order=oldest`, by pages, without their data."""
    page = await services.searches.read(
        list_programs,
        wanted.as_filter().within(caller.bounds),
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    headers = next_link("/programs", wanted, page.next_cursor)
    has_data = wanted.include == "data"
    shown = [
        show_listed(program, has_data=has_data)
        for program in await shown_to(services, caller, page.programs)
    ]
    return json_response({"programs": shown, "next_cursor": page.next_cursor}, headers=headers)


@router.post(
    "/{run_id}/cancel",
    operation_id="cancel_program",
    summary="Cancel a program",
    responses={
        200: {
            "model": ProgramModel,
            "description": f"The program, which is cancelled now. {RECEIPT}",
        },
        **problems(404, 409),
    },
)
async def cancel_program(run_id: RunId, services: Serving, actor: Operator) -> Response:
    """End a program now, also while a worker runs its step."""
    program = await cancel_now(services, run_id, actor)
    return program_response(await as_steered_by(services, actor.caller, program))


@router.post(
    "/{run_id}/resume",
    operation_id="resume_program",
    summary="Resume a program",
    responses={
        200: {"model": ProgramModel, "description": f"The program, which goes on. {RECEIPT}"},
        **problems(400, 404, 409, 413, 415),
    },
)
async def resume_program(
    run_id: RunId, services: Serving, actor: Operator, body: ResumeRequest | None = None
) -> Response:
    """Let an errored or cancelled program go on from its failed step, or from another."""
    from_step = body.from_step if body else None
    program = await resume_now(services, run_id, actor, from_step=from_step)
    return program_response(await as_steered_by(services, actor.caller, program))


@router.get(
    "/{run_id}/attempts",
    operation_id="list_attempts",
    summary="List the tries of a program's steps",
    responses={
        200: {"model": AttemptListModel, "description": "A page."},
        **problems(404),
    },
)
async def get_attempts(
    run_id: RunId, wanted: Annotated[AttemptQuery, Query()], services: Serving, caller: Reader
) -> Response:
    """List every try of every step, in the order of their ends or the last first, by pages."""
    await require_seen(services, run_id, caller)
    page = await services.database.read(
        page_of_attempts,
        run_id,
        limit=wanted.limit,
        cursor=wanted.cursor,
        is_newest_first=wanted.order == "newest",
    )
    shown = AttemptListModel.of(page)
    headers = next_link(f"/programs/{quote(run_id, safe='')}/attempts", wanted, page.next_cursor)
    return json_response(shown.model_dump(), headers=headers)
