"""Jobs: how each fares, who knows it, and whether its endpoint is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from program_service.api.intents import new_programs
from program_service.api.obstacles import breaker_of
from program_service.api.problems import Problem, words_of
from program_service.api.schemas import ProgramRequest
from program_service.api.services import Services
from program_service.bookkeeping.ledger.figures import JobFigures, job_figures
from program_service.bookkeeping.ledger.registry import Job, find_job, list_jobs
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import OURS, Form, Overseer, PageRoute, Sender
from program_service.dashboard.pages import PREFIX, page, to_program

router = APIRouter(route_class=PageRoute, include_in_schema=False)

JOBS = f"{PREFIX}/jobs"
HOURS = 24


@dataclass(frozen=True, slots=True)
class JobView:
    """A job, its figures of the last day if it ran, and the live workers that know it."""

    job: Job
    figures: JobFigures | None
    workers: Sequence[str]
    breakers: Sequence[str]
    """The workers that leave its host alone."""


@router.get(JOBS)
async def jobs_page(request: Request, board: Boarding, caller: Overseer) -> Response:
    """Show every job that was ever registered."""
    del caller
    views = await board.readings.share("jobs", lambda: _views(board.services))
    return page(request, "jobs.html", views=views, hours=HOURS, now=datetime.now(UTC))


@router.get(f"{JOBS}/test")
async def ask_to_test(request: Request, board: Boarding, caller: Sender, job: str) -> Response:
    """Say what a test does."""
    del caller
    found = await board.services.database.read(find_job, job)
    return page(request, "test_job.html", job=found)


@router.post(f"{JOBS}/test", dependencies=OURS)
async def test_job(request: Request, board: Boarding, form: Form, caller: Sender) -> Response:
    """Submit a program of this job alone, and show it."""
    try:
        wanted = ProgramRequest(jobs=[form.get("job", "")], labels={"source": "dashboard-test"})
    except ValidationError as error:
        raise Problem(422, "invalid", words_of(error)) from error
    (new,) = await new_programs(board.services, [wanted], caller, traceparent=None)
    await board.services.submissions.submit(new)
    return to_program(request, new.run_id)


async def _views(services: Services) -> list[JobView]:
    jobs = await services.database.read(list_jobs)
    figures = {each.job: each for each in await services.database.read(job_figures, hours=HOURS)}
    workers = await services.live_workers()
    return [
        JobView(
            job,
            figures.get(job.name),
            [worker.name for worker in workers if job.name in worker.jobs],
            [worker.name for worker in workers if breaker_of(job, worker)],
        )
        for job in jobs
    ]
