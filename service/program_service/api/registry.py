"""Registry over HTTP: which jobs there are, and which workers live."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from program_service.api.programs import Reader
from program_service.api.queries import PageQuery
from program_service.api.responses import Items, page_response, problems
from program_service.api.schemas import JobName as Name
from program_service.api.schemas import JsonObject
from program_service.api.services import Serving
from program_service.api.views import JobListModel, JobModel, WorkerListModel, WorkerModel
from program_service.bookkeeping.ledger.registry import Job, find_job, list_jobs
from program_service.bookkeeping.ledger.workers import Worker

router = APIRouter(tags=["jobs and workers"])

JobName = Annotated[Name, Path(description="The job's name.", examples=["send_invoice"])]


@router.get(
    "/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    responses={200: {"model": JobListModel, "description": "The jobs."}, **problems()},
)
async def get_jobs(
    wanted: Annotated[PageQuery, Query()], services: Serving, caller: Reader
) -> Response:
    """Return every job that a worker ever registered, by pages."""
    del caller
    workers = await services.live_workers()
    jobs: Items = {
        (job.name,): partial(_shown_job, job, workers)
        for job in await services.database.read(list_jobs)
    }
    return page_response("/jobs", jobs, wanted)


def _shown_job(job: Job, workers: list[Worker]) -> JsonObject:
    return JobModel.of(job, workers).model_dump()


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
    responses={200: {"model": WorkerListModel, "description": "The workers."}, **problems()},
)
async def get_workers(
    wanted: Annotated[PageQuery, Query()], services: Serving, caller: Reader
) -> Response:
    """Return the workers that live, by pages."""
    caller.require_unbound()
    workers: Items = {
        (worker.name, worker.process): partial(_shown_worker, worker)
        for worker in await services.live_workers()
    }
    return page_response("/workers", workers, wanted)


def _shown_worker(worker: Worker) -> JsonObject:
    return WorkerModel.model_validate(worker).model_dump()
