"""Shapes: what the API takes and answers, as types; moments are RFC 3339 texts in UTC."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

Json = dict[str, Any]

Status = Literal[
    "pending", "scheduled", "running", "waiting", "retrying", "finished", "errored", "cancelled"
]

FINAL = frozenset({"finished", "errored", "cancelled"})
"""The statuses of programs that change only by a resume."""


class ProgramOptions(TypedDict, total=False):
    """What a program may have besides its jobs."""

    program_data: Json | None
    job_data: dict[str, Json] | None
    start_at: datetime | str | None
    labels: dict[str, str] | None
    notify: str | None


class ProgramBody(ProgramOptions):
    """A program of a batch."""

    jobs: Sequence[str]


class Filters(TypedDict, total=False):
    """Which programs are listed, and in what order; what is None does not count."""

    status: Status | None
    job: str | None
    queue: str | None
    label: str | Sequence[str] | None
    in_progress: bool | None
    step_retry_count_gte: int | None
    created_after: datetime | str | None
    created_before: datetime | str | None
    error: str | None
    order: Literal["newest", "oldest"] | None
    include: Literal["data"] | None
    limit: int | None


class Progress(TypedDict):
    """How many steps are done."""

    done: int
    total: int


class _Facts(TypedDict):
    run_id: str
    status: Status
    jobs: list[str]
    step: int
    step_retry_count: int
    finished_at: str | None
    errored_at: str | None
    error_message: str | None
    created_at: str
    updated_at: str
    due_at: str | None
    claimed_by: str | None
    lease_losses: int
    resumes: int
    awaiting: int | None
    cancelled_at: str | None
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


class Program(_Facts):
    """A program as the API shows it."""

    program_data: Json
    job_data: dict[str, Json]


class ListedProgram(_Facts, total=False):
    """A program of a list: with its data only where `include="data"` asks for them."""

    program_data: Json
    job_data: dict[str, Json]


class ProgramPage(TypedDict):
    """Some programs, and the cursor of the next page."""

    programs: list[ListedProgram]
    next_cursor: str | None


class Submitted(TypedDict):
    """A program of a batch, once it is accepted."""

    run_id: str


class LogLine(TypedDict):
    """A line that a job logged."""

    at: str
    level: str
    text: str
    fields: Json


class Paging(TypedDict, total=False):
    """Which page of a program's tries, and in what order."""

    order: Literal["newest", "oldest"] | None
    limit: int | None
    cursor: str | None


class Attempt(TypedDict):
    """One try of one step."""

    step: int
    attempt: int
    job: str
    worker: str | None
    started_at: str | None
    finished_at: str
    outcome: str
    error_type: str | None
    error_code: str | None
    error_message: str | None
    traceback: str | None
    log: list[LogLine]


class AttemptPage(TypedDict):
    """Some tries, and the cursor of the next page."""

    attempts: list[Attempt]
    next_cursor: str | None


class Explanation(TypedDict):
    """Why a program is not moving, and when it will."""

    run_id: str
    status: Status
    reason: str
    text: str
    moves_at: str | None
    facts: Json


class RetryPolicy(TypedDict, total=False):
    """How often and how late a failed step is tried again."""

    max_attempts: int
    initial_s: float
    factor: float
    max_s: float
    jitter: Literal["full", "none"]


class Endpoint(TypedDict, total=False):
    """An HTTP endpoint that is called as a job; all but `url` may be left out."""

    url: str
    timeout_s: float | None
    queue: str | None
    retry: RetryPolicy | None
    max_concurrency: int | None
    secret: str | None
    cancel_url: str | None


class Job(TypedDict):
    """A registered job."""

    name: str
    kind: Literal["in_process", "callback"]
    queue: str
    timeout_s: float | None
    retry: RetryPolicy
    created_at: str
    last_seen_at: str
    workers: list[str]
    url: str | None
    cancel_url: str | None
    max_concurrency: int | None
    secrets_valid: int
    disabled_at: str | None
    flaw: str | None
    secret: str | None


class TokenKey(TypedDict):
    """A key that callback tokens are signed with."""

    number: int
    created_at: str
    expires_at: str | None


class Worker(TypedDict):
    """A live worker."""

    name: str
    process: str
    host: str
    pid: int | None
    version: str
    queues: list[str]
    jobs: list[str]
    slots: int
    busy: int
    is_draining: bool
    started_at: str
    last_seen_at: str
    endpoints: Json
