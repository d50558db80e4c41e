"""Views: what the API shows, as pydantic models."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from program_service.api.schemas import JsonObject
from program_service.bookkeeping.ledger.attempts import AttemptPage
from program_service.bookkeeping.ledger.reading import DATA, Program
from program_service.bookkeeping.ledger.registry import Job
from program_service.bookkeeping.ledger.workers import Worker
from program_service.bookkeeping.lifecycle import Status


class Progress(BaseModel):
    """How many steps are done."""

    done: int = Field(description="How many steps are done.")
    total: int = Field(description="How many there are.")


class ProgramModel(BaseModel):
    """A program as it stands in the table, and what follows from it."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = Field(description="Its id.")
    status: Status = Field(description="What it is doing.")
    jobs: list[str] = Field(description="The names of its jobs, in the order in which they run.")
    program_data: JsonObject = Field(description="Data for all jobs.")
    job_data: dict[str, JsonObject] = Field(description="Data of single jobs, by job name.")
    step: int = Field(description="The index of the current step, from 0, or of the failed one.")
    step_retry_count: int = Field(description="How often the current step was tried again.")
    finished_at: datetime | None = Field(description="When it finished.")
    errored_at: datetime | None = Field(description="When it ended without finishing.")
    error_message: str | None = Field(description="The last error, also of a retry.")
    created_at: datetime = Field(description="When it was submitted.")
    updated_at: datetime = Field(description="When it last changed.")
    due_at: datetime | None = Field(
        description="The earliest time of its next step; while it runs, when its lease ends."
    )
    claimed_by: str | None = Field(description="The worker that runs it.")
    lease_losses: int = Field(description="How many workers were lost in the current step.")
    resumes: int = Field(description="How often it was resumed.")
    awaiting: int | None = Field(description="The try whose completion from outside is awaited.")
    cancelled_at: datetime | None = Field(description="When it was cancelled.")
    job: str = Field(description="The name of the current job; of the last one at the end.")
    queue: str = Field(description="Whose workers run it.")
    labels: dict[str, str] = Field(description="Words to find it by.")
    submitted_by: str | None = Field(description="The name of the key that submitted it.")
    parent_run_id: str | None = Field(description="The program whose job submitted it.")
    traceparent: str | None = Field(description="Its trace, as the W3C writes it.")
    notify: str | None = Field(description="The address that is told of its end.")
    current_job: str | None = Field(
        description="The name of the current job; null when it has finished."
    )
    progress: Progress = Field(description="How far it is.")
    links: dict[str, str] = Field(description="The paths of what can be asked of it.")


HIDDEN = {"id", "lease", "woken_at", "version"}


def show_listed(program: Program, *, has_data: bool) -> dict[str, Any]:
    """Return a program as a list shows it: the values of a `ListedProgramModel`."""
    shown = show(program)
    return shown if has_data else {name: shown[name] for name in shown if name not in DATA}


def show(program: Program) -> dict[str, Any]:
    """Return a program as the API shows it: the values of a `ProgramModel`."""
    shown = {name: getattr(program, name) for name in Program.__slots__ if name not in HIDDEN}
    is_finished = program.status is Status.FINISHED
    total = len(program.jobs)
    return shown | {
        "current_job": None if is_finished else program.job,
        "progress": {"done": total if is_finished else program.step, "total": total},
        "links": links(program.run_id),
    }


def links(run_id: str) -> dict[str, str]:
    """Return the addresses of what can be asked of a program."""
    base = f"/programs/{quote(run_id, safe='')}"
    rest = ("attempts", "events", "explain", "cancel", "resume")
    return {"self": base, **{name: f"{base}/{name}" for name in rest}}


class BatchItem(BaseModel):
    """An accepted program of a batch."""

    run_id: str = Field(description="Its id.")


class BatchModel(BaseModel):
    """The accepted programs, in the order of the request."""

    programs: list[BatchItem] = Field(description="One for each of the request.")


class ListedProgramModel(ProgramModel):
    """A program of a list: without its data, unless `include=data` asks for them."""

    program_data: JsonObject = Field({}, description="Data for all jobs; with `include=data`.")
    job_data: dict[str, JsonObject] = Field(
        {}, description="Data of single jobs, by job name; with `include=data`."
    )


class ProgramListModel(BaseModel):
    """A page of programs; the Link header names the next."""

    programs: list[ListedProgramModel] = Field(
        description="At most `limit`, and fewer where they come to more than 1 MiB."
    )
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class LogLineModel(BaseModel):
    """A line that a job logged."""

    at: datetime = Field(description="By the clock of the worker.")
    level: str = Field(description="How much it matters, as `info` or `error`.")
    text: str = Field(description="What was logged.")
    fields: JsonObject = Field(default_factory=dict, description="What was logged with it.")


class AttemptModel(BaseModel):
    """One try of one step."""

    model_config = ConfigDict(from_attributes=True)

    step: int = Field(description="The index of the step, from 0.")
    attempt: int = Field(description="The number of the try, from 1.")
    job: str = Field(description="The name of the job.")
    worker: str | None = Field(description="Who ran it; `callback` for what an endpoint reported.")
    started_at: datetime | None = Field(description="When it began; null for a lost one.")
    finished_at: datetime = Field(description="When it ended.")
    outcome: str = Field(
        description="`done`, `retry`, `failed`, `ignored`, `accepted`, `yielded`, `released`,"
        " `cancelled` or `lost`; more may come."
    )
    error_type: str | None = Field(description="The class of the error.")
    error_code: str | None = Field(description="The code of the error, where it has one.")
    error_message: str | None = Field(description="What went wrong.")
    traceback: str | None = Field(description="Where in the job it went wrong.")
    log: list[LogLineModel] = Field(description="The last lines that the job logged.")


class AttemptListModel(BaseModel):
    """A page of the tries of a program's steps; the Link header names the next."""

    attempts: list[AttemptModel] = Field(
        description="In the order of their ends, or with `order=newest` the last first."
    )
    next_cursor: str | None = Field(
        None, description="The `cursor` of the next page; null at the end."
    )

    @classmethod
    def of(cls, page: AttemptPage) -> Self:
        """Take what the ledger read."""
        shown = [AttemptModel.model_validate(attempt) for attempt in page.attempts]
        return cls(attempts=shown, next_cursor=page.next_cursor)


class JobModel(BaseModel):
    """A registered job."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Its name.")
    # any other kind is of a newer release: one such job must not hide the rest
    kind: Annotated[str, WithJsonSchema({"type": "string", "enum": ["in_process", "callback"]})] = (
        Field(description="A function in workers, or an HTTP endpoint.")
    )
    queue: str = Field(description="Whose workers run it.")
    timeout_s: float | None = Field(description="How many seconds a try may take; null for any.")
    retry: JsonObject = Field(description="How often and how late a failed try is repeated.")
    created_at: datetime = Field(description="When it was first registered.")
    last_seen_at: datetime = Field(description="When it was last registered.")
    workers: list[str] = Field(description="The live workers that know it.")
    url: str | None = Field(None, description="The endpoint of a callback job.")
    cancel_url: str | None = Field(None, description="Where it is told of cancels.")
    max_concurrency: int | None = Field(
        None, description="Calls that one worker process makes at a time."
    )
    secrets_valid: int = Field(0, description="How many secrets calls are signed with.")
    disabled_at: datetime | None = Field(None, description="When its endpoint answered 410.")
    flaw: str | None = Field(
        None, description="Why it is not used: what is wrong with what is stored of it."
    )
    secret: str | None = Field(None, description="Shown once, when the service has made it.")

    @classmethod
    def of(cls, job: Job, workers: list[Worker]) -> Self:
        """Take what the ledger read."""
        knowing = [worker.name for worker in workers if job.name in worker.jobs]
        shown = {name: getattr(job, name) for name in Job.__slots__}
        if (endpoint := job.endpoint) is not None:
            shown |= {
                "url": endpoint.url,
                "cancel_url": endpoint.cancel_url,
                "max_concurrency": endpoint.max_concurrency,
                "secrets_valid": len(endpoint.valid_secrets(datetime.now(UTC))),
            }
        return cls.model_validate(shown | {"retry": job.policy, "workers": knowing})


class JobListModel(BaseModel):
    """A page of the registered jobs; the Link header names the next."""

    jobs: list[JobModel] = Field(description="In the order of their names.")
    next_cursor: str | None = Field(
        None, description="The `cursor` of the next page; null at the end."
    )


class WorkerModel(BaseModel):
    """A live worker."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Its name, as in `claimed_by`.")
    process: str = Field(
        description="Its process: the name and a random part. Two workers of one name are two."
    )
    host: str = Field(description="Where it runs.")
    pid: int | None = Field(description="Its process id there; null for an older release.")
    version: str = Field(description="The release that it runs.")
    queues: list[str] = Field(description="Which queues it serves.")
    jobs: list[str] = Field(description="Which jobs it knows.")
    slots: int = Field(description="How many programs it can run at a time.")
    busy: int = Field(description="How many it runs.")
    is_draining: bool = Field(description="Whether somebody requested that it take no more.")
    started_at: datetime = Field(description="When it started.")
    last_seen_at: datetime = Field(description="When it was last heard of.")
    endpoints: JsonObject = Field(
        description="Its calls to endpoints: `running` by job, `breakers` that are open by host,"
        " `job_breakers` by job; and `limits`: jobs whose programs wait there for room."
    )


class WorkerListModel(BaseModel):
    """A page of the live workers; the Link header names the next."""

    workers: list[WorkerModel] = Field(description="In the order of their names.")
    next_cursor: str | None = Field(
        None, description="The `cursor` of the next page; null at the end."
    )


class ExplanationModel(BaseModel):
    """Why a program is not moving, in words and in fields, and when it will."""

    run_id: str = Field(description="The program.")
    status: Status = Field(description="What it is doing.")
    reason: str = Field(
        description="A stable word for the reason, as `not_due`; more may come.",
        examples=["not_due"],
    )
    text: str = Field(description="The reason in words.")
    moves_at: datetime | None = Field(description="When it is expected to move, where known.")
    facts: JsonObject = Field(description="What the reason follows from.")
