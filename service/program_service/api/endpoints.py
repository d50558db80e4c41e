"""Endpoints over HTTP: register, change, rotate the secret of, and delete callback jobs."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from program_service.api.actors import Actor, acting
from program_service.api.auth import Scope
from program_service.api.bodies import KeyedRoute
from program_service.api.problems import forbidden_address
from program_service.api.registry import JobName
from program_service.api.responses import json_response, problems
from program_service.api.schemas import CallbackJobRequest, RotationRequest
from program_service.api.services import Services, Serving
from program_service.api.views import JobModel
from program_service.bookkeeping.ledger import endpoints as ledger
from program_service.bookkeeping.ledger.auditing import Entry
from program_service.bookkeeping.ledger.registry import CALLBACK, Endpoint, Job, Secret
from program_service.bookkeeping.ledger.workers import Worker
from program_service.logs import log
from program_service.telemetry import Event
from program_service.webhooks.errors import Forbidden
from program_service.webhooks.signing import new_secret
from program_service.webhooks.tokens import new_token_key

router = APIRouter(tags=["jobs and workers"], route_class=KeyedRoute)

Admin = Annotated[Actor, Depends(acting(Scope.ADMIN))]


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
    """Sign with a new secret, and for a while with the old one too; the new one is shown once.

    A rotation to the secret that is the newest already changes nothing: who sends a secret may
    repeat the request.
    """
    wanted = body or RotationRequest()
    # made before the first try: a second one must not make another (rule R4)
    secret, overlap = wanted.secret or new_secret(), timedelta(seconds=wanted.overlap_s)
    entry = actor.entry("secret_rotated", target=name)
    job = await services.database.transact(
        ledger.rotate_secret, name, secret, overlap=overlap, entry=entry
    )
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
    registered, made = await register(
        services, name, body, actor.entry("job_registered", target=name)
    )
    what, by, client = "new" if registered.is_new else "changed", actor.by, actor.client
    log.info(Event.AUDIT_JOB_PUT, what=what, job=name, by=by, client=client)
    workers = await services.live_workers()
    return _shown(registered.job, workers, made, status=201 if registered.is_new else 200)


@router.delete(
    "/jobs/{name:job}",
    status_code=204,
    operation_id="delete_job",
    summary="Delete a job",
    responses={204: {"description": "It is forgotten."}, **problems(404, 409)},
)
async def remove_job(name: JobName, services: Serving, actor: Admin) -> Response:
    """Forget a job that no unfinished program needs."""
    beat_s = services.settings.worker_beat_s
    entry = actor.entry("job_deleted", target=name)
    await services.database.transact(ledger.delete_job, name, beat_s=beat_s, entry=entry)
    log.info(Event.AUDIT_JOB_DELETED, job=name, by=actor.by, client=actor.client)
    return Response(status_code=204)


async def register(
    services: Services, name: str, body: CallbackJobRequest, entry: Entry | None = None
) -> tuple[ledger.Registered, str | None]:
    """Register a callback job; return it, and its secret if we made one that is to be shown.

    Raises:
        JobInProcess: live workers run a function of this name.
    """
    wanted = _wanted(name, body)
    registered = await services.database.transact(
        ledger.put_endpoint,
        wanted,
        brings_secret=body.secret is not None,
        beat_s=services.settings.worker_beat_s,
        entry=entry,
    )
    assert wanted.endpoint is not None
    is_ours = registered.is_new_endpoint and body.secret is None
    return registered, wanted.endpoint.secrets[0].secret if is_ours else None


def _wanted(name: str, body: CallbackJobRequest) -> Job:
    """Return a job as it is if nobody has registered it yet, with a token key and a secret."""
    return Job(
        name=name,
        kind=CALLBACK,
        queue=body.queue,
        timeout_s=body.timeout_s,
        policy=asdict(body.retry.as_policy()),
        endpoint=Endpoint(
            url=body.url,
            secrets=[Secret(body.secret or new_secret())],
            token_key=new_token_key(),
            max_concurrency=body.max_concurrency,
            cancel_url=body.cancel_url,
        ),
    )


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
