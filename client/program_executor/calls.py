"""Calls: what the clients ask of the API, said once for the sync and the async one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from program_executor.shapes import (
    AttemptPage,
    Endpoint,
    Explanation,
    Filters,
    Job,
    Json,
    Paging,
    Program,
    ProgramBody,
    ProgramOptions,
    ProgramPage,
    Submitted,
    TokenKey,
    Worker,
)

T = TypeVar("T")

LISTEN_S = 20.0
"""How long events may keep silent: the service sends a comment every 15 s."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request to be sent; its answer is a `T`."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe_to_repeat: bool = True
    hold_s: float = 0.0
    """For how long the service may hold the answer back."""
    part: str | None = None
    is_paged: bool = False
    """Whether the cursor of the next page is returned with the part."""
    """The member of the answer that is asked for; None for all of it."""


def program_path(run_id: str, *parts: str) -> str:
    """Return the path of a program, or of something of it."""
    return "/".join(["/programs", *(quote(part, safe="") for part in (run_id, *parts))])


def job_path(name: str, *parts: str) -> str:
    """Return the path of a job."""
    return "/".join(["/jobs", *(quote(part, safe="") for part in (name, *parts))])


def given(fields: Mapping[str, Any]) -> Json:
    """Return what was given, as JSON has it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if value is not None
    }


def submit(jobs: Sequence[str], options: ProgramOptions, idempotency_key: str) -> Call[Program]:
    """Submit a program; the key makes it safe to repeat."""
    headers = {"Idempotency-Key": f'"{idempotency_key}"'}
    return Call("POST", "/programs", json={"jobs": list(jobs)} | given(options), headers=headers)


def submit_batch(programs: Sequence[ProgramBody]) -> Call[list[Submitted]]:
    """Submit programs, all or nothing; a repeated batch would be a second one."""
    body = {"programs": [_program(program) for program in programs]}
    return Call("POST", "/programs/batch", json=body, is_safe_to_repeat=False, part="programs")


def _program(program: ProgramBody) -> Json:
    """Return a program of a batch; its jobs may be any sequence."""
    body = given(program)
    if isinstance(body.get("jobs"), tuple):
        body["jobs"] = list(body["jobs"])
    return body


def get(run_id: str, *, wait_s: float = 0) -> Call[Program]:
    """Return a program; `wait_s` holds the answer until it has ended."""
    headers = {"Prefer": f"wait={ceil(wait_s)}"} if wait_s else {}
    return Call("GET", program_path(run_id), headers=headers, hold_s=wait_s)


def list_page(filters: Filters, cursor: str | None = None) -> Call[ProgramPage]:
    """List programs, from this cursor on."""
    return Call("GET", "/programs", params=given({**filters, "cursor": cursor}))


def events(run_id: str, last_event_id: str | None) -> Call[None]:
    """Listen to a program's events, from the one that was heard last."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    return Call("GET", program_path(run_id, "events"), headers=headers, hold_s=LISTEN_S)


def cancel(run_id: str, reason: str | None = None) -> Call[Program]:
    """Cancel a program."""
    return Call("POST", program_path(run_id, "cancel"), params=given({"reason": reason}))


def resume(run_id: str, from_step: int | None, reason: str | None = None) -> Call[Program]:
    """Resume a program; a repeated resume finds it running, and says so."""
    body = given({"from_step": from_step})
    params = given({"reason": reason})
    path = program_path(run_id, "resume")
    return Call("POST", path, json=body, params=params, is_safe_to_repeat=False)


def attempt_page(run_id: str, paging: Paging) -> Call[AttemptPage]:
    """List the tries of a program's steps, from a cursor on."""
    return Call("GET", program_path(run_id, "attempts"), params=given(paging))


def explain(run_id: str) -> Call[Explanation]:
    """Explain why a program is not moving."""
    return Call("GET", program_path(run_id, "explain"))


def job_data(run_id: str, job: str) -> Call[Json]:
    """Read what a job keeps in a program."""
    return Call("GET", program_path(run_id, "job-data", job))


def set_job_data(run_id: str, job: str, value: Json) -> Call[Json]:
    """Replace what a job keeps in a program."""
    return Call("PUT", program_path(run_id, "job-data", job), json=value)


def merge_job_data(run_id: str, job: str, value: Json) -> Call[Json]:
    """Merge into what a job keeps in a program, shallowly."""
    return Call("PATCH", program_path(run_id, "job-data", job), json=value)


def jobs(cursor: str | None = None) -> Call[tuple[list[Job], str | None]]:
    """List the registered jobs, from a cursor on."""
    return Call("GET", "/jobs", params=given({"cursor": cursor}), part="jobs", is_paged=True)


def job(name: str) -> Call[Job]:
    """Look at a job."""
    return Call("GET", job_path(name))


def put_job(name: str, endpoint: Endpoint) -> Call[Job]:
    """Register or change an endpoint; a secret that the service makes is in one answer only."""
    is_safe_to_repeat = endpoint.get("secret") is not None
    return Call("PUT", job_path(name), json=given(endpoint), is_safe_to_repeat=is_safe_to_repeat)


def rotate_secret(name: str, secret: str | None, overlap_s: float | None) -> Call[Job]:
    """Sign the calls of a job with a new secret, and for a while with the old one, too."""
    return Call(
        "POST",
        job_path(name, "rotate-secret"),
        json=given({"secret": secret, "overlap_s": overlap_s}),
        is_safe_to_repeat=secret is not None,
    )


def rotate_token_key(overlap_s: float | None) -> Call[list[TokenKey]]:
    """Sign the links of calls with a new key, and for a while verify by the old ones, too."""
    return Call(
        "POST",
        "/token-keys/rotate",
        json=given({"overlap_s": overlap_s}),
        part="keys",
        is_safe_to_repeat=False,
    )


def delete_job(name: str) -> Call[None]:
    """Forget a job; a repeated call would not find it any more."""
    return Call("DELETE", job_path(name), is_safe_to_repeat=False)


def workers(cursor: str | None = None) -> Call[tuple[list[Worker], str | None]]:
    """List the live workers, from a cursor on."""
    params = given({"cursor": cursor})
    return Call("GET", "/workers", params=params, part="workers", is_paged=True)
