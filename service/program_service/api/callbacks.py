"""Callbacks over HTTP: endpoints complete, fail and prolong steps by a token, without a key."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from program_service.api.contract.answers import ProlongedModel, SettledModel, StepDataModel
from program_service.api.contract.examples import TOKEN
from program_service.api.responses import json_response, problems
from program_service.api.schemas import CompleteRequest, FailRequest, HeartbeatRequest, JsonObject
from program_service.api.services import Services, Serving
from program_service.api.steering import wake_if_pending
from program_service.api.tickets import VERIFIED, TokenRoute, bad_token
from program_service.api.traced import in_its_trace
from program_service.bookkeeping.errors import JobNotFound
from program_service.bookkeeping.ledger.callbacks import (
    Report,
    Ticket,
    merge_callback_data,
    prolong,
    settle_callback,
)
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.registry import CALLBACK, DEFAULT_TIMEOUT_S, Job, find_job
from program_service.bookkeeping.lifecycle import (
    Change,
    Done,
    Ending,
    Fail,
    RetryLater,
)
from program_service.bookkeeping.retry import draw
from program_service.bookkeeping.storable import storable_object
from program_service.bookkeeping.veiling import veil_outcome
from program_service.logs import log
from program_service.telemetry import Event
from program_service.webhooks.answers import done, outcome_of_error
from program_service.webhooks.tokens import MAX_TOKEN, Signed

router = APIRouter(prefix="/callbacks/{token}", tags=["callbacks"], route_class=TokenRoute)

Token = Annotated[
    str, Path(max_length=MAX_TOKEN, description="From the links of a call.", examples=[TOKEN])
]

REFUSALS = problems(400, 404, 409, 413, 415)
SETTLED = {200: {"model": SettledModel, "description": "It is recorded."}, **REFUSALS}


@router.post(
    "/complete", operation_id="complete_step", summary="Complete a step", responses=SETTLED
)
async def complete(
    token: Token, services: Serving, request: Request, body: CompleteRequest | None = None
) -> Response:
    """Say that the step is done; a completion of any of its tries counts."""
    del token
    async with _verified(services, request) as (job, ticket):
        outcome = done(body.model_dump(exclude_none=True) if body else {})
        return await _settle(services, job, ticket, outcome)


@router.post("/fail", operation_id="fail_step", summary="Fail a step", responses=SETTLED)
async def fail(token: Token, services: Serving, request: Request, body: FailRequest) -> Response:
    """Say that this try failed, and whether another may succeed."""
    del token
    async with _verified(services, request) as (job, ticket):
        outcome = outcome_of_error(body.error.model_dump(exclude_none=True))
        return await _settle(services, job, ticket, outcome)


@router.post(
    "/heartbeat",
    operation_id="prolong_step",
    summary="Ask for more time",
    responses={200: {"model": ProlongedModel, "description": "There is more time."}, **REFUSALS},
)
async def heartbeat(
    token: Token, services: Serving, request: Request, body: HeartbeatRequest | None = None
) -> Response:
    """Move the deadline of an accepted step: the job's time limit counts anew from now."""
    del token, body
    async with _verified(services, request) as (job, ticket):
        within_s = job.timeout_s or DEFAULT_TIMEOUT_S
        deadline = await services.database.transact(prolong, ticket, within_s=within_s)
        return json_response({"deadline": deadline})


@router.patch(
    "/job-data",
    operation_id="merge_step_data",
    summary="Merge into the step's job data",
    responses={200: {"model": StepDataModel, "description": "The data now."}, **REFUSALS},
)
async def patch_job_data(
    token: Token, services: Serving, request: Request, body: JsonObject
) -> Response:
    """Merge into the job data of this step, shallowly, and return them."""
    del token
    async with _verified(services, request) as (_, ticket):
        patch = storable_object(body, what="job data")
        merged = await services.database.transact(merge_callback_data, ticket, patch)
        return json_response({"job_data": merged})


@asynccontextmanager
async def _verified(services: Services, request: Request) -> AsyncGenerator[tuple[Job, Ticket]]:
    """Answer a request whose token is verified, in the trace of the program that it is for."""
    job, ticket = await _meant_by(services, request.scope[VERIFIED])
    async with in_its_trace(services, request, ticket):
        yield job, ticket


async def _meant_by(services: Services, signed: Signed) -> tuple[Job, Ticket]:
    """Return what a token is for.

    Raises:
        Problem: its job is deleted, which no program needs then.
    """
    try:
        return await services.database.read(find_job, signed.job), signed.ticket
    except JobNotFound:
        raise bad_token() from None


async def _settle(
    services: Services, job: Job, ticket: Ticket, outcome: Done | RetryLater | Fail
) -> Response:
    before = await services.database.read(find, ticket.run_id)
    queues = await services.directory.queues(before.jobs)
    secrets = services.redaction.secrets_of(before) if services.redaction.is_on else ()
    outcome = veil_outcome(outcome, secrets)
    report = Report(ticket, outcome, job.retry, draw())
    program, change = await services.database.transact(settle_callback, report, queues=queues)
    _tell(services, job, program, change)
    wake_if_pending(services, program)
    return json_response({"run_id": program.run_id, "status": program.status})


def _tell(services: Services, job: Job, program: Program, change: Change) -> None:
    metrics = services.metrics
    metrics.attempts.labels(job.name, CALLBACK, change.outcome).inc()
    if reason := change.retry_reason:
        metrics.put_off(job.name, reason)
    if change.ending in {Ending.FINISHED, Ending.ERRORED}:
        took = program.updated_at - program.created_at
        metrics.finished.labels(change.ending).inc()
        metrics.program_s.labels(change.ending).observe(took.total_seconds())
    if change.ending is Ending.ERRORED and change.failure is not None:
        names = {"run_id": program.run_id, "job": job.name, "step": change.step}
        log.error(
            Event.PROGRAM_ERROR,
            name="program-executor",
            action="Consumer error finish",
            content=names,
            error_message=change.failure.message,
            **names,
        )
