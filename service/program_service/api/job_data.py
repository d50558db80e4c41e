"""Job data over HTTP: read, replace and merge what one job keeps in a program."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from program_service.api.actors import Actor
from program_service.api.auth import Scope
from program_service.api.bodies import KeyedRoute
from program_service.api.intents import refuse_veiled
from program_service.api.problems import Problem
from program_service.api.programs import Operator, Reader, RunId
from program_service.api.responses import json_response, problems
from program_service.api.seen import find_seen
from program_service.api.services import Services, Serving
from program_service.bookkeeping.ledger.job_data import EditKind, edit_job_data
from program_service.bookkeeping.lifecycle import Json
from program_service.logs import log
from program_service.telemetry import Event

router = APIRouter(
    prefix="/programs/{run_id}/job-data/{job:path}", tags=["job data"], route_class=KeyedRoute
)

JobOfProgram = Annotated[
    str, Path(description="The name of a job of the program.", examples=["mail"])
]
JsonBody = Annotated[dict[str, Any], Body(description="A JSON object.")]
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The job's data.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}
CHANGED = DOCUMENTED | problems(400, 404, 409, 413, 415)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose data are meant."""

    run_id: str
    job: str


@router.get(
    "", operation_id="get_job_data", summary="Read job data", responses=DOCUMENTED | problems(404)
)
async def read(run_id: RunId, job: JobOfProgram, services: Serving, caller: Reader) -> Response:
    """Return the data of one job; `{}` when none was ever set."""
    program = await find_seen(services, run_id, caller)
    _require_job(job, program.jobs)
    return json_response(services.redaction.data(program.job_data.get(job, {})))


@router.put("", operation_id="replace_job_data", summary="Replace job data", responses=CHANGED)
async def replace(
    run_id: RunId, job: JobOfProgram, body: JsonBody, services: Serving, actor: Operator
) -> Response:
    """Replace the data of one job."""
    return await _edit(services, Place(run_id, job), actor, kind="set", value=body)


@router.patch("", operation_id="merge_job_data", summary="Merge into job data", responses=CHANGED)
async def merge(
    run_id: RunId, job: JobOfProgram, body: JsonBody, services: Serving, actor: Operator
) -> Response:
    """Merge into the data of one job: later properties replace earlier ones of the same name."""
    return await _edit(services, Place(run_id, job), actor, kind="merge", value=body)


async def _edit(
    services: Services, place: Place, actor: Actor, *, kind: EditKind, value: Json
) -> Response:
    run_id, job, is_reader = place.run_id, place.job, actor.caller.may(Scope.READ)
    refuse_veiled(services, value)
    program = await find_seen(services, run_id, actor.caller)
    _require_job(job, program.jobs, is_reader=is_reader)
    entry = actor.entry("job_data_changed", run_id=run_id, target=job, what=kind)
    stored = await services.database.transact(
        edit_job_data, run_id, job, kind=kind, value=value, entry=entry
    )
    by, client = actor.by, actor.client
    log.info(Event.AUDIT_JOB_DATA, what=kind, run_id=run_id, job=job, by=by, client=client)
    # without `read`, what was sent is all there is to see
    return json_response(services.redaction.data(stored if is_reader else value))


def _require_job(job: str, jobs: list[str], *, is_reader: bool = True) -> None:
    if job not in jobs:
        named = f"; it has {', '.join(map(repr, jobs[:10]))}" if is_reader else ""
        detail = f"{job!r} is no job of this program{named}."
        raise Problem(404, "job_not_in_program", detail)
