"""Calls: what the clients ask of the API, said once for the sync and the async one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any, TypedDict
from urllib.parse import quote

Json = dict[str, Any]


class Progress(TypedDict):
    """How many steps are done."""

    done: int
    total: int


class Program(TypedDict):
    """A program as the API shows it; moments are RFC 3339 texts in UTC."""

    run_id: str
    status: str
    jobs: list[str]
    program_data: Json
    job_data: dict[str, Json]
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


class LogLine(TypedDict):
    """A line that a job logged."""

    at: str
    level: str
    text: str
    fields: Json


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


class ProgramPage(TypedDict):
    """Some programs, and the cursor of the next page."""

    programs: list[Program]
    next_cursor: str | None


FINAL = frozenset({"finished", "errored", "cancelled"})
"""The statuses of programs that change only by a resume."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to be sent."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe_to_repeat: bool = True
    hold_s: float = 0.0
    """For how long the service may hold the answer back."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A program to submit, besides its jobs."""

    program_data: Json | None = None
    job_data: dict[str, Json] | None = None
    start_at: datetime | str | None = None
    labels: dict[str, str] | None = None

    def body(self, jobs: Sequence[str]) -> Json:
        """Return the request's body, without what is not set."""
        start_at = self.start_at
        if isinstance(start_at, datetime):
            start_at = start_at.isoformat()
        body = {
            "jobs": list(jobs),
            "program_data": self.program_data,
            "job_data": self.job_data,
            "start_at": start_at,
            "labels": self.labels,
        }
        return {name: value for name, value in body.items() if value is not None}


def program_path(run_id: str, *parts: str) -> str:
    """Return the path of a program, or of something of it."""
    return "/".join(["/programs", *(quote(part, safe="") for part in (run_id, *parts))])


def submit(body: Json, idempotency_key: str) -> Call:
    """Submit a program; the key makes it safe to repeat."""
    return Call("POST", "/programs", json=body, headers={"Idempotency-Key": f'"{idempotency_key}"'})


def submit_batch(bodies: Sequence[Json]) -> Call:
    """Submit programs, all or nothing; a repeated batch would be a second one."""
    body = {"programs": list(bodies)}
    return Call("POST", "/programs/batch", json=body, is_safe_to_repeat=False)


def get(run_id: str, *, wait_s: float = 0) -> Call:
    """Return a program; `wait_s` holds the answer until it has ended."""
    headers = {"Prefer": f"wait={ceil(wait_s)}"} if wait_s else {}
    return Call("GET", program_path(run_id), headers=headers, hold_s=wait_s)


def list_page(filters: Mapping[str, Any]) -> Call:
    """List programs; filters are those of `GET /programs`."""
    return Call("GET", "/programs", params={k: v for k, v in filters.items() if v is not None})


def cancel(run_id: str) -> Call:
    """Cancel a program."""
    return Call("POST", program_path(run_id, "cancel"))


def resume(run_id: str, from_step: int | None) -> Call:
    """Resume a program; a repeated resume finds it running, and says so."""
    body = {} if from_step is None else {"from_step": from_step}
    return Call("POST", program_path(run_id, "resume"), json=body, is_safe_to_repeat=False)


def attempts(run_id: str) -> Call:
    """List the tries of a program's steps."""
    return Call("GET", program_path(run_id, "attempts"))


def explain(run_id: str) -> Call:
    """Explain why a program is not moving."""
    return Call("GET", program_path(run_id, "explain"))


def jobs() -> Call:
    """List the registered jobs."""
    return Call("GET", "/jobs")


def workers() -> Call:
    """List the live workers."""
    return Call("GET", "/workers")
