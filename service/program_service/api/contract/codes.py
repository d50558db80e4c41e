"""Codes: every code of a problem, when it occurs, and in answer to which operations.

An operation that documents a status names the codes of that status; those of `only` are named by
these operations alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from program_service.api.problems import title_of

DATA = frozenset({"replace_job_data", "merge_job_data"})
SUBMITS = frozenset({"submit_program", "submit_programs"})
CALLBACKS = frozenset({"complete_step", "fail_step", "prolong_step", "merge_step_data"})
OF_PROGRAMS = DATA | {
    "get_program",
    "cancel_program",
    "resume_program",
    "list_attempts",
    "watch_program",
    "explain_program",
    "get_job_data",
}
PAGED = frozenset(
    {"list_programs", "list_attempts", "list_jobs", "list_workers", "list_keys", "list_sessions"}
)
OF_JOBS = frozenset({"get_job", "delete_job", "rotate_secret"})
ALL_KEYED = (
    OF_PROGRAMS
    | OF_JOBS
    | SUBMITS
    | {"list_programs", "list_jobs", "list_workers", "put_job", "rotate_token_key"}
    | {"make_key", "list_keys", "revoke_key", "list_sessions", "end_session", "list_audit"}
)
ROTATIONS = frozenset({"rotate_secret", "rotate_token_key"})
CHANGES = (
    DATA
    | SUBMITS
    | ROTATIONS
    | {"cancel_program", "resume_program", "put_job", "delete_job"}
    | {"make_key", "revoke_key", "end_session"}
)
WITH_BODY = DATA | SUBMITS | CALLBACKS | ROTATIONS | {"resume_program", "put_job", "make_key"}
"""The operations that take a body."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code: its status, when it occurs, and a `detail` as the service writes it."""

    status: int
    meaning: str
    detail: str
    only: frozenset[str] | None = None
    errors: tuple[Mapping[str, str], ...] = ()

    def is_of(self, operation: str) -> bool:
        """Say whether an operation may answer it, if it documents the status."""
        return self.only is None or operation in self.only

    def problem(self, name: str, instance: str) -> dict[str, Any]:
        """Return an answer that has this code."""
        problem: dict[str, Any] = {
            "type": f"urn:program-executor:problem:{name}",
            "title": title_of(self.status),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": name,
        }
        return problem | ({"errors": list(self.errors)} if self.errors else {})


CODES: dict[str, Code] = {
    "malformed_body": Code(
        400,
        "The body is not JSON.",
        "The body is not JSON: unexpected character: line 1 column 1 (char 0).",
    ),
    "unauthorized": Code(
        401,
        "No key was sent, or one that nobody has.",
        "Send a key of this service as `Authorization: Bearer …`.",
    ),
    "forbidden": Code(
        403,
        "The key lacks the scope.",
        "The key 'mailer' does not have the scope 'operate'.",
    ),
    "cross_site": Code(
        403,
        "The service has no keys, and a page of another site told a browser to send this.",
        "This was sent by a page of another site.",
        only=CHANGES,
    ),
    "other_host": Code(
        403,
        "The service has no keys, and was called by a name that is not of its machine.",
        "Without API keys this service answers to names of this machine alone, such as localhost,"
        " and not to 'box.example'. Set PROGRAM_EXECUTOR_API_KEYS; or PROGRAM_EXECUTOR_SERVICE_URL,"
        " if that is its name; or PROGRAM_EXECUTOR_ALLOW_UNAUTHENTICATED=true, if everybody who can"
        " connect may do everything.",
        only=ALL_KEYED,
    ),
    "program_not_found": Code(
        404,
        "No program has this run_id.",
        "No program has the run_id '019a8f3c-0000-7000-8000-000000000000'.",
        only=OF_PROGRAMS,
    ),
    "job_not_in_program": Code(
        404,
        "The program has no such job.",
        "'chrage' is no job of this program; it has 'charge', 'provision', 'mail'.",
        only=DATA | {"get_job_data"},
    ),
    "job_not_found": Code(
        404,
        "Nobody ever registered this job, or it is no callback job.",
        "Nobody ever registered a job 'chrage'.",
        only=OF_JOBS,
    ),
    "bad_token": Code(
        404,
        "The token is none of this service.",
        "This is no token of this service; use the links of a call as they are.",
        only=CALLBACKS,
    ),
    "already_final": Code(
        409,
        "The program has ended, so it cannot be cancelled or changed.",
        "The program has errored already; only one that has not ended is cancelled.",
        only=DATA | {"cancel_program"},
    ),
    "not_resumable": Code(
        409,
        "The program has not ended, or has finished, or has no such step.",
        "The program is finished; only an errored or cancelled one can be resumed.",
        only=frozenset({"resume_program"}),
    ),
    "stale_step": Code(
        409,
        "The step has moved on, or its program has ended: there is nothing left to report.",
        "The step that this callback is for has moved on, or its program has ended.",
        only=CALLBACKS,
    ),
    "unreadable_row": Code(
        409,
        "Somebody wrote something into the program's row that cannot be read.",
        "This row cannot be read: job_data is a list, not an object.",
        only=DATA | CALLBACKS,
    ),
    "job_needed": Code(
        409,
        "Programs have yet to run this job.",
        "1 programs have yet to run 'charge', such as 019a8f3c-6f27-730f-bd71-396620658ecc: cancel"
        " them, or wait for their end.",
        only=frozenset({"delete_job"}),
    ),
    "job_in_process": Code(
        409,
        "Live workers run a function of that name.",
        "Live workers run a function named 'charge'; give the endpoint another name.",
        only=frozenset({"put_job", "delete_job"}),
    ),
    "too_many_token_keys": Code(
        409,
        "So many keys of callback tokens are valid that another one is not made.",
        "10 token keys are valid, the most there may be: set overlap_s to 0 to end all but the new"
        " one, or wait.",
        only=frozenset({"rotate_token_key"}),
    ),
    "key_not_found": Code(
        404,
        "No key of the table has this id.",
        "No key has the id '9f86d081884c7d65'.",
        only=frozenset({"revoke_key"}),
    ),
    "session_not_found": Code(
        404,
        "No session has this id, or it has ended.",
        "No session has the id '60303ae22b998861'.",
        only=frozenset({"end_session"}),
    ),
    "key_of_setting": Code(
        409,
        "The key is in the setting `API_KEYS`, and can only be revoked there.",
        "The key '9f86d081884c7d65' is in the setting API_KEYS of this service: take it out there,"
        " and start the service again.",
        only=frozenset({"revoke_key"}),
    ),
    "first_key": Code(
        409,
        "The service has no keys yet, and nobody could make another one with this key.",
        "This service has no keys, and only callers with a key are let in from the first one on:"
        " make one with the scope 'admin' and without an expiry first.",
        only=frozenset({"make_key"}),
    ),
    "too_many_keys": Code(
        409,
        "There are as many keys as a service may have.",
        "There are 10,000 keys, as many as a service may have; revoke some.",
        only=frozenset({"make_key"}),
    ),
    "body_too_large": Code(
        413,
        "The body is longer than `MAX_BODY_BYTES`.",
        "The body is longer than 1048576 bytes.",
    ),
    "job_data_too_large": Code(
        413,
        "The job data of the program would be longer than `MAX_JOB_DATA_BYTES`. Nothing is stored.",
        "the job data of the program would have 1,300,008 bytes as JSON, and may have 1,048,576"
        " (MAX_JOB_DATA_BYTES): store big values elsewhere, and their names here",
        only=DATA | SUBMITS | {"complete_step", "merge_step_data"},
    ),
    "not_json": Code(
        415,
        "The body is not sent as JSON.",
        "Send the body as JSON, with the header `Content-Type: application/json`.",
    ),
    "compressed_body": Code(
        415,
        "The body is compressed.",
        "The body has the Content-Encoding 'gzip'; send it as it is.",
    ),
    "invalid": Code(
        422,
        "A field or a parameter is wrong; `errors` says which, and what would be right.",
        "jobsData: 'jobsData' is not a field",
        errors=(
            {
                "field": "jobsData",
                "in": "body",
                "code": "extra_forbidden",
                "message": "'jobsData' is not a field",
                "hint": "did you mean 'job_data'?",
            },
        ),
    ),
    "unknown_jobs": Code(
        422,
        "Nobody ever registered some of the jobs; `errors` has near names.",
        "Unknown jobs: 'chrage'. Start a worker that knows them first, or set UNKNOWN_JOBS=accept"
        " to have programs wait for one.",
        only=SUBMITS,
        errors=(
            {
                "field": "jobs[0]",
                "in": "body",
                "code": "unknown_job",
                "message": "no worker ever registered a job 'chrage'",
                "hint": "did you mean 'charge'?",
            },
        ),
    ),
    "forbidden_address": Code(
        422,
        "An address that may not be called; `detail` names the rule.",
        "this service tells nobody: its NOTIFY_SECRET is not set",
        only=SUBMITS | {"put_job"},
        errors=(
            {
                "field": "notify",
                "in": "body",
                "code": "forbidden_address",
                "message": "this service tells nobody: its NOTIFY_SECRET is not set",
            },
        ),
    ),
    "idempotency_mismatch": Code(
        422,
        "The key was used before with another body.",
        "This Idempotency-Key was used before with another body.",
        only=frozenset({"submit_program"}),
    ),
    "bad_idempotency_key": Code(
        422,
        "The key is not 1 to 255 printable characters, quoted or bare.",
        "Idempotency-Key must be 1 to 255 printable characters, quoted or bare.",
        only=frozenset({"submit_program"}),
    ),
    "idempotency_not_for_batches": Code(
        422,
        "A batch takes no Idempotency-Key.",
        "Idempotency-Key works for POST /programs only; submit these programs one by one.",
        only=frozenset({"submit_programs"}),
    ),
    "bad_cursor": Code(
        422,
        "The cursor is none of this service.",
        "The cursor is not one that this service gave out; take it from the Link header.",
        only=PAGED,
    ),
    "search_too_long": Code(
        422,
        "The search took longer in the database than it may.",
        "The search took longer than 5 s, the most it may: give a later created_after, or other"
        " conditions.",
        only=frozenset({"list_programs"}),
    ),
    "searches_busy": Code(
        503,
        "As many searches are under way as may be; try again after `Retry-After` seconds.",
        "3 searches are under way, the most at a time: try again in a second.",
        only=frozenset({"list_programs"}),
    ),
    "nul_character": Code(
        422,
        "A string holds U+0000, which PostgreSQL cannot store.",
        "The body cannot be stored: program_data.name holds the character NUL (U+0000), which"
        " PostgreSQL cannot store; leave it out, or encode binary data as base64.",
        only=WITH_BODY,
    ),
    "integer_too_long": Code(
        422,
        "An integer is beyond 64 bits.",
        "The body cannot be stored: program_data.id is an integer beyond 64 bits; store it as a"
        " string.",
        only=WITH_BODY,
    ),
    "nested_too_deeply": Code(
        422,
        "The body nests deeper than 100 levels.",
        "The body nests deeper than 100 levels.",
        only=WITH_BODY,
    ),
    "not_storable": Code(
        422,
        "Something cannot be stored as JSON; `detail` says what.",
        "job data: x.deep[1].y is NaN; JSON has finite numbers only",
        only=frozenset({"merge_step_data"}),
    ),
    "redacted_value": Code(
        422,
        "`***` was sent for a field that the service hides.",
        "program_data.card: '***' is what this service shows in place of a value that its setting"
        " REDACT hides; send the value itself, or leave the field out.",
        only=DATA | SUBMITS,
    ),
    "refused_by_database": Code(
        422,
        "The database refused what it should store.",
        "The database refused what it was asked to store.",
        only=WITH_BODY,
    ),
    "rate_limited": Code(
        429,
        "The key asks more often than it may; wait `Retry-After` seconds.",
        "This key may make 600 requests in 60 s; wait 12 s.",
        only=ALL_KEYED,
    ),
    "too_many_failed_tries": Code(
        429,
        "Too many wrong keys or tokens came from this address; wait `Retry-After` seconds.",
        "Too many failed tries from this address; wait 12 s. A right key is let through meanwhile.",
    ),
    "database_unavailable": Code(
        503,
        "The database does not answer; try again after `Retry-After` seconds.",
        "The database does not answer.",
    ),
}


def codes_of(operation: str, status: int) -> dict[str, Code]:
    """Return the codes that an operation may answer with a status."""
    return {
        name: code
        for name, code in CODES.items()
        if code.status == status and code.is_of(operation)
    }
