"""Document: the OpenAPI document, put together from the routes and from what they do not say.

Routes and models tell of paths, parameters and fields. Added here: who may call (`operations`),
examples, the codes of errors (`codes`), what is sent to others (`messages`), and names that read
well in generated clients.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from program_service.api.auth import Scope
from program_service.api.contract.answers import ProblemModel
from program_service.api.contract.codes import CODES, codes_of
from program_service.api.contract.examples import ADDRESS, RUN_ID
from program_service.api.contract.messages import SENT, webhooks
from program_service.api.contract.operations import OPERATIONS, Shown
from program_service.api.problems import MEDIA_TYPE

Json = dict[str, Any]

REFERENCE = re.compile(r'"#/components/schemas/(\w+)Model"')

SUMMARY = "Runs ordered lists of jobs, which go on where they stopped after any crash."

DESCRIPTION = """\
Runs programs: ordered lists of jobs, one after the other, that go on where they stopped after any
crash. JSON everywhere, `snake_case`, times in RFC 3339 UTC.

Every error is a problem of RFC 9457 with a stable `code`; each operation names those that it may
answer. Besides, 404 `not_found` and 405 `method_not_allowed` say that there is no such operation,
and 500 `internal` that the service made a mistake. New codes and new fields of answers may come
with any release: ignore what you do not know.

A service with API keys wants one for each call: `Authorization: Bearer …`, with the scope that
stands at the operation. A service without keys listens on its own machine only, and wants none.
Where keys have a quota, each answer tells in `RateLimit` what is left of it.
"""

TAGS = [
    {"name": "programs", "description": "Submit programs, follow, cancel and resume them."},
    {"name": "job data", "description": "What one job keeps in a program, read and changed."},
    {"name": "jobs and workers", "description": "Which jobs are known, and who runs them."},
    {"name": "keys", "description": "API keys and sessions of the dashboard."},
    {"name": "audit", "description": "Who did what, when, and why."},
    {"name": "callbacks", "description": "For endpoints that complete their steps later."},
    {"name": "health", "description": "Probes and metrics; none needs a key."},
    {"name": "messages", "description": "What is sent to endpoints: Standard Webhooks 1.0.0."},
]

KEYS = {
    scope.value: {
        "type": "http",
        "scheme": "bearer",
        "description": f"A key with the scope `{scope.value}`, or with `admin`, which may do"
        " everything; `program-executor keys new NAME` makes one.",
    }
    for scope in Scope
}

LINKED = ("get_program", "list_attempts", "explain_program", "cancel_program", "resume_program")
"""What is done with the run_id of a submitted program."""

HEADERS: dict[str, tuple[str, str]] = {
    "Location": ("The path of the program.", f"/programs/{RUN_ID}"),
    "ETag": ("The version of the program, for `If-None-Match`.", '"4-finished"'),
    "Idempotent-Replayed": ("`true`: the key came before, and nothing was stored.", "true"),
    "Preference-Applied": ("How long the answer was held at most.", "wait=20"),
    "Link": ("The next page, if there is one.", '</programs?cursor=eyJpZCI6MTF9>; rel="next"'),
    "Retry-After": ("Seconds to wait before the next try.", "1"),
    "RateLimit": ("What is left of the key's quota, if it has one.", '"key";r=0;t=12'),
    "RateLimit-Policy": ("The key's quota and its window in seconds.", '"key";q=600;w=60'),
    "WWW-Authenticate": ("How to send a key.", "Bearer"),
}

ANSWERED: dict[tuple[str, str], tuple[str, ...]] = {
    ("submit_program", "201"): ("Location", "ETag"),
    ("submit_program", "200"): ("Idempotent-Replayed", "ETag"),
    ("get_program", "200"): ("ETag", "Preference-Applied"),
    ("get_program", "304"): ("ETag", "Preference-Applied"),
    ("list_programs", "200"): ("Link",),
    ("list_keys", "200"): ("Link",),
    ("list_audit", "200"): ("Link",),
    ("list_sessions", "200"): ("Link",),
    ("list_attempts", "200"): ("Link",),
    ("list_jobs", "200"): ("Link",),
    ("list_workers", "200"): ("Link",),
    ("cancel_program", "200"): ("ETag",),
    ("resume_program", "200"): ("ETag",),
}
"""Which headers come with an answer, besides those of errors."""

OF_ERRORS = {
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After", "RateLimit", "RateLimit-Policy"),
    "503": ("Retry-After",),
}


def document(app: FastAPI) -> Json:
    """Return the OpenAPI document of an application."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=app.routes,
        webhooks=webhooks.routes,
        tags=TAGS,
        servers=[{"url": ADDRESS, "description": "`program-executor dev` on this machine."}],
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    components = schema["components"]
    components["schemas"] |= _schemas_of_problems()
    components["securitySchemes"] = KEYS
    components["headers"] = {name: _header(*said) for name, said in HEADERS.items()}
    components["examples"] = {
        name: {"summary": code.meaning, "value": code.problem(name, "/programs")}
        for name, code in CODES.items()
    }
    for operation in operations_of(schema):
        _complete(operation, OPERATIONS[operation["operationId"]])
    for operation in operations_of(schema, within="webhooks"):
        _tidy(operation)
        sent = SENT[operation["operationId"]]
        _show(operation["requestBody"]["content"], {"message": sent})
        operation["security"] = []
    return _well_named(schema)


def _schemas_of_problems() -> Json:
    problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**problem.pop("$defs"), "ProblemModel": problem}


def operations_of(schema: Json, *, within: str = "paths") -> Iterator[Json]:
    """Yield the operations of a document."""
    for methods in schema[within].values():
        yield from methods.values()


def _header(description: str, example: str) -> Json:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _complete(operation: Json, shown: Shown) -> None:
    """Add to an operation what its route does not say."""
    _tidy(operation)
    _tell_scope(operation, shown.scope)
    if not operation.keys() & {"parameters", "requestBody"}:
        operation["responses"].pop("422", None)
    if shown.body:
        _show(operation["requestBody"]["content"], shown.body)
    for status, answer in operation["responses"].items():
        _tell_answer(operation["operationId"], status, answer, shown)


def _tell_scope(operation: Json, scope: Scope | None) -> None:
    if scope is not None:
        operation["security"] = [{}, {scope.value: []}]
        operation["description"] += f"\n\nNeeds a key with the scope `{scope.value}`."
        return
    operation["security"] = []
    for status in ("401", "403"):
        operation["responses"].pop(status, None)


def _tell_answer(operation: str, status: str, answer: Json, shown: Shown) -> None:
    if (operation, status) == ("watch_program", "200"):
        # FastAPI writes itemSchema here, a word of OpenAPI 3.2 in a document of 3.1
        answer["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    if (operation, status) == ("submit_program", "201"):
        answer["links"] = {
            each: {"operationId": each, "parameters": {"run_id": "$response.body#/run_id"}}
            for each in LINKED
        }
    if examples := shown.answers.get(int(status)):
        _show(answer["content"], examples)
    elif int(status) >= HTTPStatus.BAD_REQUEST:
        _name_codes(answer, operation, int(status))
    if headers := ANSWERED.get((operation, status), OF_ERRORS.get(status)):
        answer["headers"] = {each: {"$ref": f"#/components/headers/{each}"} for each in headers}


def _show(content: Json, examples: Any) -> None:
    body = next(iter(content.values()))
    body["examples"] = {
        name: {"summary": name.replace("_", " ").capitalize() + ".", "value": value}
        for name, value in examples.items()
    }


def _name_codes(answer: Json, operation: str, status: int) -> None:
    codes = codes_of(operation, status)
    answer["description"] = "\n".join(f"- `{name}`: {code.meaning}" for name, code in codes.items())
    answer["content"][MEDIA_TYPE]["examples"] = {
        name: {"$ref": f"#/components/examples/{name}"} for name in codes
    }


def _tidy(operation: Json) -> None:
    """Say of parameters that they may be left out, which null says badly: none is ever null."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
        for kind in kinds:
            schema |= kind
        schema.pop("description", None)
        parameter["schema"] = schema


def _well_named(schema: Json) -> Json:
    """Give the schemas names that read well in generated clients: `Program`, not `ProgramModel`."""
    text = orjson.dumps(_plain(schema)).decode()
    renamed: Json = orjson.loads(REFERENCE.sub(r'"#/components/schemas/\1"', text))
    schemas = renamed["components"]["schemas"]
    named = {name.removesuffix("Model"): value for name, value in schemas.items()}
    renamed["components"]["schemas"] = dict(sorted(named.items()))
    return renamed


def _plain(value: Any) -> Any:
    """Write schemas as generators like them; examples stay as they are.

    Titles repeat names, and patterns of the names of properties hide what their values are.
    """
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {
        name: inner if name in {"example", "examples", "info"} else _plain(inner)
        for name, inner in value.items()
        if name != "title" or not isinstance(inner, str)
    }
    if patterns := plain.pop("patternProperties", None):
        ((pattern, plain["additionalProperties"]),) = patterns.items()
        plain["propertyNames"] |= {"pattern": pattern}
    return plain
