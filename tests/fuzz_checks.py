"""Checks that Schemathesis makes besides its own; openapi/schemathesis.toml loads them.

Its own `positive_data_acceptance` takes every 422 for a mistake. Here it is one if the schema had
allowed what was sent: if a field is refused for its form, and not for what it means.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response

from contracts import misfits

MEANT = {"value_error", "unknown_job", "forbidden_address"}
"""Codes of fields that are of the right form, and cannot be meant."""

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "openapi" / "program-executor.json").read_bytes()
)

UNROUTED = {"not_found", "method_not_allowed"}
"""Answers to paths that lead to no operation, such as a run_id with a slash."""

TOKENS: Iterator[str] = cycle(os.environ.get("FUZZ_TOKENS", "of-nobody").split())
"""Tokens of steps that are to be done, which no answer shows: only their endpoints are told."""

ENDED = os.environ.get("FUZZ_ENDED", "of-nobody")
"""A program whose stream of events ends at once."""

KEYS: Iterator[str] = cycle(os.environ.get("FUZZ_KEYS", "0" * 16).split())
SESSIONS: Iterator[str] = cycle(os.environ.get("FUZZ_SESSIONS", "0" * 16).split())
"""Ids of keys and of sessions, each of which can be ended once."""

IS_KEYED = "FUZZ_KEYS" in os.environ
"""Whether the service has keys; else the first key that is made would close it to this caller."""

A_WEEK_S = 604_800

LONGEST = 2_000
"""Characters of a path parameter: longer paths get a 431, which no operation has seen."""

OPEN = os.environ.get("FUZZ_OPEN", "of-nobody print").split()
"""A program that has not ended, and a job of it."""


@schemathesis.hook
def before_call(ctx: HookContext, case: Case[Any], **_: Any) -> None:
    """Let what is of the right form be meant: tokens that are good, new keys, job data of jobs.

    What is generated at random would be refused before most of an operation has run.
    """
    del ctx
    name = case.operation.definition.raw["operationId"]
    _spare(case, name)
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    known = {"key_id": KEYS, "session_id": SESSIONS, "token": TOKENS}
    for parameter in known.keys() & case.path_parameters.keys():
        case.path_parameters[parameter] = next(known[parameter])
    if "job" in case.path_parameters:
        case.path_parameters |= dict(zip(("run_id", "job"), OPEN, strict=True))
    body: Any = case.body
    if name == "submit_program":
        case.body = _meant(body)
        # one key with ever other bodies would be refused; the same body has the same key
        text = json.dumps(case.body, sort_keys=True).encode()
        case.headers["Idempotency-Key"] = hashlib.sha256(text).hexdigest()
    if name == "submit_programs":
        case.body = {"programs": [_meant(each) for each in body["programs"]]}


def _spare(case: Case[Any], name: str) -> None:
    """Change what would end the run for all that follows."""
    for parameter, value in case.path_parameters.items():
        case.path_parameters[parameter] = value[:LONGEST] if isinstance(value, str) else value
    if name == "watch_program":
        case.path_parameters["run_id"] = ENDED
    if name == "rotate_token_key" and isinstance(case.body, dict) and "overlap_s" in case.body:
        case.body = {**case.body, "overlap_s": case.body["overlap_s"] or A_WEEK_S}
    if name == "make_key" and not IS_KEYED:
        case.body = {"name": "mailer", "scopes": ["submit"]}


def _meant(program: dict[str, Any]) -> dict[str, Any]:
    """Take away the job data of other jobs, and an address that is none."""
    meant = {name: value for name, value in program.items() if name != "notify"}
    if "job_data" in program:
        of_jobs = program["job_data"].items()
        meant["job_data"] = {job: data for job, data in of_jobs if job in program["jobs"]}
    return meant


@schemathesis.check
def code_is_in_the_document(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Every problem has a code that the operation names for this status."""
    del ctx
    if "application/problem+json" not in response.headers.get("content-type", [""])[0]:
        return
    code = response.json()["code"]
    answers = case.operation.definition.raw["responses"]
    content = answers.get(str(response.status_code), {}).get("content", {})
    named = content.get("application/problem+json", {}).get("examples", {})
    assert code in named or code in UNROUTED, f"{code} is not named for {response.status_code}"


@schemathesis.check
def what_a_schema_allows_has_the_right_form(
    ctx: CheckContext, response: Response, case: Case[Any]
) -> None:
    """What fits the schemas is refused for what it means, and never for its form."""
    del ctx
    is_fitting = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_fitting or response.status_code not in {400, 415, 422}:
        return
    problem = response.json()
    content = case.operation.definition.raw.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema and misfits(DOCUMENT, schema, case.body):
        return  # Schemathesis errs sometimes, about the names of properties
    forms = [each for each in problem.get("errors", []) if each["code"] not in MEANT]
    assert problem["code"] not in {"malformed_body", "not_json"}, problem
    assert forms == [], forms


@schemathesis.check
def events_show_programs(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Each event of a stream is a program, as the document has it."""
    del ctx, case
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    lines = response.text.splitlines()
    shown = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert len(shown) == lines.count("event: program") == 1, lines  # it had ended before
    program = DOCUMENT["components"]["schemas"]["Program"]
    assert misfits(DOCUMENT, program, json.loads(shown[0])) == []
