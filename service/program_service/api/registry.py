"""Registry over HTTP: which jobs there are, and which workers live."""

from typing import Annotated

from fastapi import APIRouter, Path

from program_service.api.programs import Reader
from program_service.api.responses import problems
from program_service.api.services import Serving
from program_service.api.views import JobListModel, JobModel, WorkerListModel, WorkerModel
from program_service.bookkeeping.ledger.registry import find_job, list_jobs

router = APIRouter(tags=["jobs and workers"])


@router.get("/jobs", summary="List jobs", responses=problems())
async def get_jobs(services: Serving, caller: Reader) -> JobListModel:
    """Return every job that a worker ever registered."""
    del caller
    workers = await services.live_workers()
    jobs = await services.database.read(list_jobs)
    return JobListModel(jobs=[JobModel.of(job, workers) for job in jobs])


@router.get("/jobs/{name:path}", summary="Look at a job", responses=problems(404))
async def get_job(
    name: Annotated[str, Path(description="The name of the job.")],
    services: Serving,
    caller: Reader,
) -> JobModel:
    """Return one job."""
    del caller
    job = await services.database.read(find_job, name)
    return JobModel.of(job, await services.live_workers())


@router.get("/workers", summary="List workers", responses=problems())
async def get_workers(services: Serving, caller: Reader) -> WorkerListModel:
    """Return the workers that live."""
    del caller
    workers = [WorkerModel.model_validate(worker) for worker in await services.live_workers()]
    return WorkerListModel(workers=workers)
