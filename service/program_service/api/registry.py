"""Registry over HTTP: which jobs there are, and which workers live."""

from typing import Annotated

from fastapi import APIRouter, Path

from program_service.api.programs import Reader
from program_service.api.responses import problems
from program_service.api.schemas import JobName as Name
from program_service.api.services import Serving
from program_service.api.views import JobListModel, JobModel, WorkerListModel, WorkerModel
from program_service.bookkeeping.ledger.registry import find_job, list_jobs

router = APIRouter(tags=["jobs and workers"])

JobName = Annotated[Name, Path(description="The job's name.", examples=["send_invoice"])]


@router.get(
    "/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    responses={200: {"description": "The jobs."}, **problems()},
)
async def get_jobs(services: Serving, caller: Reader) -> JobListModel:
    """Return every job that a worker ever registered."""
    del caller
    workers = await services.live_workers()
    jobs = await services.database.read(list_jobs)
    return JobListModel(jobs=[JobModel.of(job, workers) for job in jobs])


@router.get(
    "/jobs/{name:job}",
    operation_id="get_job",
    summary="Look at a job",
    responses={200: {"description": "The job."}, **problems(404)},
)
async def get_job(name: JobName, services: Serving, caller: Reader) -> JobModel:
    """Return one job."""
    del caller
    job = await services.database.read(find_job, name)
    return JobModel.of(job, await services.live_workers())


@router.get(
    "/workers",
    operation_id="list_workers",
    summary="List workers",
    responses={200: {"description": "The workers."}, **problems()},
)
async def get_workers(services: Serving, caller: Reader) -> WorkerListModel:
    """Return the workers that live."""
    del caller
    workers = [WorkerModel.model_validate(worker) for worker in await services.live_workers()]
    return WorkerListModel(workers=workers)
