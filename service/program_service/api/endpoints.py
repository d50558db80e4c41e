"""Endpoints over HTTP: register, change, rotate the secret of, and delete callback jobs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from program_service.api.actors import Actor, acting
from program_service.api.auth import Scope
from program_service.api.bodies import KeyedRoute
from program_service.api.problems import Problem, forbidden_address
from program_service.api.registry import JobName
from program_service.api.responses import json_response, problems
from program_service.api.schemas import CallbackJobRequest, RotationRequest
from program_service.api.services import Services, Serving
from program_service.api.views import JobModel
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import JobNotFound
from program_service.bookkeeping.ledger.registry import (
    CALLBACK,
    Endpoint,
    Job,
    Secret,
    delete_job,
    find_job,
    put_endpoint,
)
from program_service.bookkeeping.ledger.workers import Worker
from program_service.logs import log
from program_service.telemetry import Event
from program_service.webhooks.errors import Forbidden
from program_service.webhooks.signing import new_secret
from program_service.webhooks.tokens import new_token_key

router = APIRouter(tags=["jobs and workers"], route_class=KeyedRoute)

Admin = Annotated[Actor, Depends(acting(Scope.ADMIN))]

OVERLAP = timedelta(days=1)
"""How long an old secret is still good after another one was put in its place."""


@router.post(
    "/jobs/{name:path}/rotate-secret",
    operation_id="rotate_secret",
    summary="Rotate the secret of a callback job",
    responses={
        200: {"model": JobModel, "description": "The job, with its new secret."},
        **problems(400, 404, 413, 415),
    },
)
async def rotate_secret(
    name: JobName, services: Serving, actor: Admin, body: RotationRequest | None = None
) -> Response:
    """Sign with a new secret, and for a while with the old one too; the new one is shown once."""
    wanted = body or RotationRequest()

    async def rotate(books: Books) -> tuple[Job, str]:
        job = await find_job(books, name)
        if job.endpoint is None:
            msg = f"The job {name!r} runs in workers; it has no secret."
            raise JobNotFound(msg)
        secret = wanted.secret or new_secret()
        secrets = _with(job.endpoint.secrets, secret, timedelta(seconds=wanted.overlap_s))
        changed = replace(job, endpoint=replace(job.endpoint, secrets=secrets))
        await put_endpoint(books, changed)
        return await find_job(books, name), secret

    job, secret = await services.database.transact(rotate)
    log.info(Event.AUDIT_SECRET_ROTATED, job=name, by=actor.by, client=actor.client)
    return _shown(job, await services.live_workers(), secret)


@router.put(
    "/jobs/{name:job}",
    operation_id="put_job",
    summary="Register or change a callback job",
    responses={
        200: {"model": JobModel, "description": "It was changed, and enabled."},
        201: {"model": JobModel, "description": "It is registered."},
        **problems(400, 409, 413, 415),
    },
)
async def put_job(
    name: JobName, body: CallbackJobRequest, services: Serving, actor: Admin
) -> Response:
    """Have an HTTP endpoint called as a job; a secret that we make is shown once."""
    _require_allowed(services, body)
    workers = await services.live_workers()
    job, secret, is_new = await services.database.transact(register, name, body, workers=workers)
    what, by, client = "new" if is_new else "changed", actor.by, actor.client
    log.info(Event.AUDIT_JOB_PUT, what=what, job=name, by=by, client=client)
    return _shown(job, workers, secret, status=201 if is_new else 200)


@router.delete(
    "/jobs/{name:job}",
    status_code=204,
    operation_id="delete_job",
    summary="Delete a job",
    responses={204: {"description": "It is forgotten."}, **problems(404, 409)},
)
async def remove_job(name: JobName, services: Serving, actor: Admin) -> Response:
    """Forget a job that no unfinished program needs."""
    await services.database.transact(forget, name, workers=await services.live_workers())
    log.info(Event.AUDIT_JOB_DELETED, job=name, by=actor.by, client=actor.client)
    return Response(status_code=204)


async def forget(books: Books, name: str, *, workers: Sequence[Worker]) -> None:
    """Delete a job; a function only when no live worker has it, for none would register it again.

    Raises:
        Problem: live workers run a function of this name.
        JobNotFound: nobody ever registered it.
        JobNeeded: programs that have not ended have yet to run it.
    """
    job = await find_job(books, name)
    if job.kind != CALLBACK and any(name in worker.jobs for worker in workers):
        detail = f"Live workers run a function named {name!r}; stop them, or take it out of them."
        raise Problem(409, "job_in_process", detail)
    await delete_job(books, name)


async def register(
    books: Books, name: str, body: CallbackJobRequest, *, workers: Sequence[Worker]
) -> tuple[Job, str | None, bool]:
    """Write a callback job down; return it, the secret if we made one, and whether it is new.

    Raises:
        Problem: live workers run a function of this name.
    """
    try:
        old: Job | None = await find_job(books, name)
    except JobNotFound:
        old = None
    is_known = any(name in worker.jobs for worker in workers)
    if old is not None and old.kind != CALLBACK and is_known:
        detail = f"Live workers run a function named {name!r}; give the endpoint another name."
        raise Problem(409, "job_in_process", detail)
    endpoint = old.endpoint if old is not None else None
    made = new_secret() if endpoint is None and body.secret is None else None
    secret = body.secret or made
    before = endpoint.secrets if endpoint is not None else ()
    new = Job(
        name=name,
        kind=CALLBACK,
        queue=body.queue,
        timeout_s=body.timeout_s,
        policy=asdict(body.retry.as_policy()),
        endpoint=Endpoint(
            url=body.url,
            secrets=before if secret is None else _with(before, secret, OVERLAP),
            token_key=endpoint.token_key if endpoint is not None else new_token_key(),
            max_concurrency=body.max_concurrency,
            cancel_url=body.cancel_url,
        ),
    )
    await put_endpoint(books, new)
    return await find_job(books, name), made, old is None


def _with(before: Sequence[Secret], secret: str, overlap: timedelta) -> list[Secret]:
    """Put a secret first; the one before it is good for a while longer, older ones are dropped."""
    if before and before[0].secret == secret:
        return list(before)
    until = datetime.now(UTC) + overlap
    kept = [Secret(each.secret, until) for each in before[:1] if overlap]
    return [Secret(secret), *kept]


def _require_allowed(services: Services, body: CallbackJobRequest) -> None:
    for field in ("url", "cancel_url"):
        url = getattr(body, field)
        try:
            if url is not None:
                services.guard.check_url(url)
        except Forbidden as error:
            raise forbidden_address(field, error) from error


def _shown(job: Job, workers: list[Worker], secret: str | None, *, status: int = 200) -> Response:
    shown = JobModel.of(job, workers).model_dump(mode="json")
    return json_response(shown | ({"secret": secret} if secret else {}), status=status)
