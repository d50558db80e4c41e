"""Document: the committed one is the API's, is valid, and says all that a client must know."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts import operations
from program_executor.commands.documents import openapi_document
from program_service.api import problems
from program_service.api.contract.codes import CODES
from program_service.api.contract.operations import OPERATIONS

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]

OPEN = {"/livez", "/readyz", "/metrics"}

RAISED = re.compile(r"Problem\(\s*(\d{3}),\s*\"(\w+)\"")

ANYWHERE = {"not_found", "method_not_allowed", "not_acceptable"}
"""Codes for what is no operation."""


def test_committed_document_is_the_generated_one(document: Json) -> None:
    committed = json.loads((ROOT / "openapi" / "program-executor.json").read_bytes())
    assert committed == document, "run `make generate`"


def test_document_is_valid_openapi_3_1(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_document_is_the_same_each_time() -> None:
    assert json.dumps(openapi_document()) == json.dumps(openapi_document())


def test_every_operation_says_what_may_go_wrong(document: Json) -> None:
    for operation in operations(document):
        if operation.path in OPEN:
            continue
        answers = operation.said["responses"]
        where = (operation.method, operation.path)
        has_input = "parameters" in operation.said or "requestBody" in operation.said
        assert ("422" in answers) == has_input, where
        assert "503" in answers, where
        assert ({"401", "403"} <= answers.keys()) == bool(operation.said["security"]), where
        # what is put need not be there before
        may_be_missing = "{" in operation.path and where != ("put", "/jobs/{name}")
        assert ("404" in answers) == may_be_missing, where
        assert ({"400", "413", "415"} <= answers.keys()) == ("requestBody" in operation.said), where
        for status, answer in answers.items():
            if int(status) >= 400:
                ((kind, content),) = answer["content"].items()
                assert kind == "application/problem+json"
                assert content["examples"], where
                for code in content["examples"]:
                    assert f"`{code}`: " in answer["description"]


def test_every_operation_has_a_name_of_its_own_and_a_summary(document: Json) -> None:
    names = [operation.name for operation in operations(document)]
    assert sorted(names) == sorted(OPERATIONS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for operation in (*operations(document), *operations(document, within="webhooks")):
        assert operation.said["summary"]
        assert operation.said["description"]
        assert set(operation.said["tags"]) <= tags


def test_everything_is_described(document: Json) -> None:
    for within in ("paths", "webhooks"):
        for operation in operations(document, within=within):
            for parameter in operation.said.get("parameters", ()):
                assert parameter["description"], (operation.name, parameter["name"])
            for status, answer in operation.said["responses"].items():
                described = answer["description"]
                assert described not in {"", "Successful Response"}, (operation.name, status)
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, said in schema.get("properties", {}).items():
            assert said.get("description"), (name, field)


def test_every_code_that_is_raised_is_in_the_document() -> None:
    known = {name: code.status for name, code in CODES.items()}
    for name, status in _raised():
        assert known.get(name) == status or name in ANYWHERE, (name, status)


def test_every_code_is_of_some_operation(document: Json) -> None:
    named = {
        code
        for operation in operations(document)
        for answer in operation.said["responses"].values()
        for content in answer.get("content", {}).values()
        for code in content.get("examples", {})
    }
    assert sorted(CODES.keys() - named) == []


def test_what_is_sent_to_others_is_in_the_document(document: Json) -> None:
    assert document["webhooks"].keys() == {"job.execute", "job.cancel", "program.ended"}
    for message, methods in document["webhooks"].items():
        headers = {each["name"] for each in methods["post"]["parameters"]}
        assert {"webhook-id", "webhook-timestamp", "webhook-signature", "traceparent"} <= headers
        assert all(each["in"] == "header" for each in methods["post"]["parameters"])
        (body,) = methods["post"]["requestBody"]["content"]["application/json"]["examples"].values()
        assert body["value"]["type"] == message
    answers = document["webhooks"]["job.execute"]["post"]["responses"].keys()
    assert {"200", "202", "204", "3XX", "408", "410", "429", "4XX", "5XX"} <= answers


def _raised() -> Iterator[tuple[str, int]]:
    for status, code in problems.CODES.values():
        yield code, status
    for status, code in problems.STATUS_CODES.items():
        yield code, status
    for source in (ROOT / "service/program_service/api").glob("*.py"):
        for status, code in RAISED.findall(source.read_text()):
            yield code, int(status)
