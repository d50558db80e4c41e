"""Views: what the API shows, as pydantic models."""

from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from program_service.api.schemas import JsonObject
from program_service.bookkeeping.ledger.reading import Attempt, Program
from program_service.bookkeeping.ledger.registry import Job, Worker
from program_service.bookkeeping.lifecycle import Status


class Progress(BaseModel):
    """How many steps are done."""

    done: int
    total: int


class ProgramModel(BaseModel):
    """A program as it stands in the table, and what follows from it."""

    model_config = ConfigDict(extra="forbid")

    run_id: str
    status: Status
    jobs: list[str]
    program_data: JsonObject
    job_data: dict[str, JsonObject]
    step: int
    step_retry_count: int
    finished_at: datetime | None
    errored_at: datetime | None
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    claimed_by: str | None
    lease_losses: int
    resumes: int
    awaiting: int | None
    cancelled_at: datetime | None
    job: str
    queue: str
    labels: dict[str, str]
    submitted_by: str | None
    parent_run_id: str | None
    traceparent: str | None
    notify: str | None
    current_job: str | None
    progress: Progress
    links: dict[str, str]


HIDDEN = {"id", "woken_at", "version"}


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

    run_id: str


class BatchModel(BaseModel):
    """The accepted programs, in the order of the request."""

    programs: list[BatchItem]


class ProgramListModel(BaseModel):
    """A page of programs; the Link header names the next."""

    programs: list[ProgramModel]
    next_cursor: str | None


class LogLineModel(BaseModel):
    """A line that a job logged."""

    at: datetime = Field(description="By the clock of the worker.")
    level: str
    text: str
    fields: JsonObject = Field(default_factory=dict)


class AttemptModel(BaseModel):
    """One try of one step."""

    model_config = ConfigDict(from_attributes=True)

    step: int
    attempt: int
    job: str
    worker: str | None
    started_at: datetime | None
    finished_at: datetime
    outcome: str
    error_type: str | None
    error_code: str | None
    error_message: str | None
    traceback: str | None
    log: list[LogLineModel] = Field(description="The last lines that the job logged.")


class AttemptListModel(BaseModel):
    """Every try of every step, in the order of their ends."""

    attempts: list[AttemptModel]

    @classmethod
    def of(cls, attempts: list[Attempt]) -> Self:
        """Take what the ledger read."""
        return cls(attempts=[AttemptModel.model_validate(attempt) for attempt in attempts])


class JobModel(BaseModel):
    """A registered job."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: Literal["in_process", "callback"]
    queue: str
    timeout_s: float | None
    retry: JsonObject
    created_at: datetime
    last_seen_at: datetime
    workers: list[str] = Field(description="The live workers that know it.")
    url: str | None = Field(None, description="The endpoint of a callback job.")
    cancel_url: str | None = None
    max_concurrency: int | None = None
    secrets_valid: int = Field(0, description="How many secrets calls are signed with.")
    disabled_at: datetime | None = Field(None, description="When its endpoint answered 410.")
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
    """All registered jobs."""

    jobs: list[JobModel]


class WorkerModel(BaseModel):
    """A live worker."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    host: str
    version: str
    queues: list[str]
    jobs: list[str]
    slots: int
    busy: int
    started_at: datetime
    last_seen_at: datetime
    endpoints: JsonObject = Field(
        description="Its calls to endpoints: `running` by job, `breakers` that are open by host."
    )


class WorkerListModel(BaseModel):
    """The live workers."""

    workers: list[WorkerModel]


class ExplanationModel(BaseModel):
    """Why a program is not moving, in words and in fields, and when it will."""

    run_id: str
    status: Status
    reason: str = Field(description="A stable word for the reason.", examples=["not_due"])
    text: str = Field(description="The reason in words.")
    moves_at: datetime | None = Field(description="When it is expected to move, where known.")
    facts: JsonObject


class ProblemModel(BaseModel):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[JsonObject] | None = None
