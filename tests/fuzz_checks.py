"""Checks that Schemathesis makes besides its own; openapi/schemathesis.toml loads them.

Its own `positive_data_acceptance` takes every 422 for a mistake. Here it is one if the schema had
allowed what was sent: if a field is refused for its form, and not for what it means.
"""

import json
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

from contracts import misfits

MEANT = {"value_error", "unknown_job", "forbidden_address"}
"""Codes of fields that are of the right form, and cannot be meant."""

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "openapi" / "program-executor.json").read_bytes()
)

UNROUTED = {"not_found", "method_not_allowed"}
"""Answers to paths that lead to no operation, such as a run_id with a slash."""


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
