"""Changes: what would break clients of the last release is found, and what would not is let be."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from released import FOLDER, breaking

Json = dict[str, Any]


def without(*path: str) -> Callable[[Json], None]:
    """Return what takes a part of a document away."""

    def change(document: Json) -> None:
        value: Any = document
        for name in path[:-1]:
            value = value[name]
        if isinstance(value, list):
            value.remove(path[-1])
        else:
            del value[path[-1]]

    return change


def with_value(value: Any, *path: str) -> Callable[[Json], None]:
    """Return what sets a part of a document."""

    def change(document: Json) -> None:
        inner: Any = document
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


SCHEMAS = ("components", "schemas")
PROGRAM = (*SCHEMAS, "Program")
REQUEST = (*SCHEMAS, "ProgramRequest")
RETRY = (*SCHEMAS, "RetryRequest", "properties")
CALL = (*SCHEMAS, "JobCall")
LIST = ("paths", "/programs", "get")
SUBMIT = ("paths", "/programs", "post")
CANCEL = ("paths", "/programs/{run_id}/cancel", "post")
COMPLETE = ("paths", "/callbacks/{token}/complete", "post")
EXECUTE = ("webhooks", "job.execute", "post")
TEXT = {"type": "string"}
BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


def with_parameter(name: str, value: Json, *path: str) -> Callable[[Json], None]:
    """Return what changes a parameter of an operation."""

    def change(document: Json) -> None:
        operation: Any = document
        for part in path:
            operation = operation[part]
        (found,) = (each for each in operation["parameters"] if each["name"] == name)
        found |= value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("paths", "/workers"), "GET /workers: the operation is gone"),
        (without(*LIST), "GET /programs: the operation is gone"),
        (with_value("stop", *CANCEL, "operationId"), "operationId cancel_program is gone"),
        (with_value(["all"], *LIST, "tags"), "tags ['programs'] is gone"),
        (with_value([{"admin": []}], *LIST, "security"), "{'read': []}] is not enough"),
        (with_value([{"admin": []}], *COMPLETE, "security"), "[{}] is not enough"),
        (without("components", "securitySchemes", "read"), "security scheme read has changed"),
        (without(*SCHEMAS, "Problem"), "the schema Problem is gone"),
    ],
)
def test_operations_that_clients_cannot_call_any_more_are_found(
    document: Json, change: Callable[[Json], None], said: str
) -> None:
    _finds(document, change, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value([], *SUBMIT, "parameters"), "the parameter idempotency-key is gone"),
        (with_parameter("limit", {"required": True}, *LIST), "the parameter limit became required"),
        (with_parameter("limit", {"schema": TEXT}, *LIST), "limit: integer instead of string"),
        (with_value([], *REQUEST, "properties", "jobs", "items", "enum"), "jobs[]: any is not"),
        (with_value(BODY, *CANCEL, "requestBody"), "the body became required"),
        (without(*SUBMIT, "requestBody", "content", "application/json"), "media type of the body"),
        (with_value(["jobs", "labels"], *REQUEST, "required"), "ProgramRequest without labels"),
        (without(*REQUEST, "properties", "notify"), "ProgramRequest.notify is gone"),
        (with_value(TEXT, *REQUEST, "properties", "start_at"), "start_at: null is not taken"),
        (with_value(TEXT, *REQUEST, "properties", "labels"), "object instead of string"),
        (with_value(10, *REQUEST, "properties", "jobs", "maxItems"), "maxItems 1000 instead of 10"),
        (with_value(3, *RETRY, "max_attempts", "minimum"), "minimum 1.0 instead of 3"),
        (with_value("x", *SCHEMAS, "ErrorRequest", "properties", "message", "pattern"), "pattern"),
        (with_value(3, *RETRY, "max_attempts", "default"), "the default 25 has changed"),
        (without(*RETRY, "jitter", "enum", "none"), "RetryRequest.jitter: 'none' is not taken"),
        (without(*SCHEMAS, "Status", "enum", "waiting"), "Status: 'waiting' is not taken"),
    ],
)
def test_what_clients_send_and_is_not_taken_any_more_is_found(
    document: Json, change: Callable[[Json], None], said: str
) -> None:
    _finds(document, change, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(*CANCEL, "responses", "200"), "the status 200 is gone"),
        (without(*SUBMIT, "responses", "201", "headers", "Location"), "header Location is gone"),
        (with_value({}, *CANCEL, "responses", "409", "content"), "the code already_final is gone"),
        (with_value({}, *LIST, "responses", "200", "content"), "application/json is gone"),
        (without(*PROGRAM, "properties", "queue"), "Program.queue is gone"),
        (without(*PROGRAM, "required", "queue"), "Program without queue is new"),
        (with_value(TEXT, *PROGRAM, "properties", "step"), "string instead of integer is new"),
        (with_value({}, *PROGRAM, "properties", "step"), "any value instead of integer is new"),
        (
            with_value({"anyOf": [TEXT, {"type": "null"}]}, *PROGRAM, "properties", "job"),
            "job: null",
        ),
        (without(*PROGRAM, "properties", "created_at", "format"), "format none instead of date-t"),
        (
            with_value(
                {"type": "integer"}, *PROGRAM, "properties", "labels", "additionalProperties"
            ),
            "labels.*: integer instead of string is new",
        ),
        (without(*SCHEMAS, "LogLine", "properties", "text"), "LogLine.text is gone"),
        (without(*SCHEMAS, "Problem", "properties", "detail"), "Problem.detail is gone"),
        (with_value(["a", "b"], *SCHEMAS, "Status", "enum"), "Status: 'a' is new to clients"),
        (without(*SCHEMAS, "Job", "properties", "kind", "enum", "callback"), "'callback' is gone"),
    ],
)
def test_what_clients_are_told_and_do_not_know_is_found(
    document: Json, change: Callable[[Json], None], said: str
) -> None:
    _finds(document, change, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("webhooks", "job.cancel"), "POST job.cancel: the operation is gone"),
        (without(*CALL, "properties", "deadline"), "JobCall.deadline is gone"),
        (without(*CALL, "required", "deadline"), "JobCall without deadline is new"),
        (with_value(TEXT, *CALL, "properties", "step"), "string instead of integer is new"),
        (with_value("job.run", *CALL, "properties", "type", "const"), "'job.run' is new"),
        (with_value([], *EXECUTE, "parameters"), "the parameter webhook-signature is gone"),
        (with_parameter("webhook-id", {"required": False}, *EXECUTE), "webhook-id may be missing"),
        (without(*EXECUTE, "responses", "202"), "the status 202 is gone"),
        (with_value(["job_data"], *SCHEMAS, "JobAnswer", "required"), "JobAnswer without job_data"),
    ],
)
def test_messages_that_endpoints_do_not_know_are_found(
    document: Json, change: Callable[[Json], None], said: str
) -> None:
    _finds(document, change, said)


def _finds(document: Json, change: Callable[[Json], None], said: str) -> None:
    new = json.loads(json.dumps(document))
    change(new)
    assert any(said in each for each in breaking(document, new)), breaking(document, new)


@pytest.mark.parametrize(
    "change",
    [
        with_value(TEXT, *PROGRAM, "properties", "mood"),
        with_value(TEXT, *REQUEST, "properties", "mood"),
        with_value({"description": "Another."}, *CANCEL, "responses", "202"),
        without(*REQUEST, "required", "jobs"),
        with_value(2_000, *REQUEST, "properties", "jobs", "maxItems"),
        with_value([], *LIST, "security"),
        with_parameter("webhook-id", {"description": "Another."}, *EXECUTE),
    ],
)
def test_what_only_adds_is_let_be(document: Json, change: Callable[[Json], None]) -> None:
    new = json.loads(json.dumps(document))
    change(new)
    assert breaking(document, new) == []


def test_field_that_a_message_gets_is_let_be(document: Json) -> None:
    new = json.loads(json.dumps(document))
    call = new["components"]["schemas"]["JobCall"]
    call["properties"]["mood"] = TEXT
    call["required"].append("mood")
    assert breaking(document, new) == []


def test_schema_that_contains_itself_is_compared(document: Json) -> None:
    old = json.loads(json.dumps(document))
    folder = {"type": "object", "properties": {"in": {"$ref": "#/components/schemas/Folder"}}}
    old["components"]["schemas"] |= {"Folder": folder, "Progress": folder}
    new = json.loads(json.dumps(old))
    assert breaking(old, new) == []
    new["components"]["schemas"]["Folder"]["properties"]["in"] = TEXT
    assert any("Folder.in" in each for each in breaking(old, new))


def test_document_breaks_no_client_of_the_last_release(document: Json) -> None:
    assert breaking(json.loads((FOLDER / "released.json").read_bytes()), document) == []
