"""Bulk: cancel or resume all programs of a filter, or of a group of failures, when confirmed."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from program_service.api.actors import Actor
from program_service.api.services import Services
from program_service.api.steering import cancel_now, resume_now
from program_service.bookkeeping.errors import (
    AlreadyFinal,
    BatchRefused,
    DatabaseUnavailable,
    NotResumable,
    ProgramNotFound,
    RowLocked,
)
from program_service.bookkeeping.ledger.auditing import write_entry
from program_service.bookkeeping.ledger.failures import members_of
from program_service.bookkeeping.ledger.reading import list_run_ids
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import OURS, Form, PageRoute, Steersman, because
from program_service.dashboard.failures import FAILURES
from program_service.dashboard.filters import Action, Filtering, Filters
from program_service.dashboard.pages import LIST, PREFIX, page, redirect
from program_service.logs import log
from program_service.telemetry import Event

router = APIRouter(route_class=PageRoute, include_in_schema=False)

AT_ONCE = 8
"""Programs that are steered at a time."""

LEFT_ALONE = (AlreadyFinal, BatchRefused, NotResumable, ProgramNotFound, RowLocked)
"""Errors of one program, after which the others are still steered."""

MOST = 1000
"""Programs that one press of a button steers: some seconds; the page says how many are left."""

LOOKED_AT = 10_000
"""Up to here the preview counts."""

Acting = Annotated[Action, Path()]
DONE = {Action.CANCEL: "cancelled", Action.RESUME: "resumed"}


@dataclass(frozen=True, slots=True)
class Steered:
    """How many programs were steered, and how many would not be any more."""

    done: int
    refused: int


@router.get(f"{PREFIX}/bulk/{{action}}")
async def preview(
    action: Acting, request: Request, board: Boarding, filters: Filtering, caller: Steersman
) -> Response:
    """Say how many programs of a filter it would be, and which come first."""
    wanted = filters.concerned(action, datetime.now(UTC)).within(caller.caller.bounds)
    run_ids = await board.services.searches.read(list_run_ids, wanted, limit=LOOKED_AT)
    return _preview(request, action, run_ids, fields=filters.given(), back=LIST)


@router.post(f"{PREFIX}/bulk/{{action}}", dependencies=OURS)
async def steer(
    action: Acting, request: Request, board: Boarding, form: Form, actor: Steersman
) -> Response:
    """Cancel or resume the programs of a filter."""
    filters = Filters.read(form)
    wanted = filters.concerned(action, datetime.now(UTC)).within(actor.caller.bounds)
    run_ids = await board.services.searches.read(list_run_ids, wanted, limit=MOST)
    steered = await _steer_all(board.services, action, run_ids, because(actor, form))
    return redirect(request, LIST, **filters.given(), **_told(action, steered))


@router.get(f"{FAILURES}/resume")
async def preview_group(
    request: Request, board: Boarding, caller: Steersman, job: str, pattern: str
) -> Response:
    """Say how many programs failed so."""
    labels = caller.caller.bounds
    run_ids = await board.services.database.read(members_of, job, pattern, labels=labels)
    fields = {"job": job, "pattern": pattern}
    return _preview(request, Action.RESUME, run_ids, fields=fields, back=FAILURES)


@router.post(f"{FAILURES}/resume", dependencies=OURS)
async def resume_group(request: Request, board: Boarding, form: Form, actor: Steersman) -> Response:
    """Resume the programs that failed so."""
    job, pattern = form.get("job", ""), form.get("pattern", "")
    labels = actor.caller.bounds
    run_ids = await board.services.database.read(members_of, job, pattern, labels=labels)
    steered = await _steer_all(board.services, Action.RESUME, run_ids[:MOST], because(actor, form))
    return redirect(request, FAILURES, **_told(Action.RESUME, steered))


def _preview(
    request: Request, action: Action, run_ids: Sequence[str], *, fields: dict[str, str], back: str
) -> Response:
    return page(
        request,
        "bulk.html",
        action=action,
        run_ids=run_ids,
        is_capped=len(run_ids) >= LOOKED_AT,
        most=MOST,
        fields=fields,
        back=back,
    )


def _told(action: Action, steered: Steered) -> dict[str, str]:
    told = {DONE[action]: str(steered.done)}
    return told | ({"refused": str(steered.refused)} if steered.refused else {})


async def _steer_all(
    services: Services, action: Action, run_ids: Sequence[str], actor: Actor
) -> Steered:
    """Steer programs, a few at a time; one that has changed meanwhile is left as it is.

    So is one whose row is locked, or which the database refuses to change.

    Raises:
        DatabaseUnavailable: the database does not answer; no further ones are begun.
    """
    steer_one = cancel_now if action is Action.CANCEL else resume_now
    places, outages = asyncio.Semaphore(AT_ONCE), list[DatabaseUnavailable]()

    async def is_steered(run_id: str) -> bool:
        async with places:
            if outages:
                return False
            try:
                await steer_one(services, run_id, actor)
            except LEFT_ALONE:
                return False
            except DatabaseUnavailable as error:
                outages.append(error)
                return False
        return True

    answers = await asyncio.gather(*map(is_steered, run_ids))
    done, by, client = sum(answers), actor.by, actor.client
    entry = actor.entry("programs_steered", what=action.value, programs=done)
    with suppress(DatabaseUnavailable):  # each program has an entry of its own
        await services.database.transact(write_entry, entry)
    log.info(Event.AUDIT_BULK, what=action.value, programs=done, by=by, client=client)
    if outages:
        raise outages[0]
    return Steered(done, len(answers) - done)
