"""Contracts: operations of an OpenAPI document, and whether a value fits one of its schemas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openapi_schema_validator import OAS31Validator

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: where it stands, and what the document says of it."""

    method: str
    path: str
    said: Json

    @property
    def name(self) -> str:
        return str(self.said["operationId"])


def operations(document: Json, *, within: str = "paths") -> Iterator[Operation]:
    for path, methods in document[within].items():
        for method, said in methods.items():
            yield Operation(method, path, said)


def misfits(document: Json, schema: Json, value: Any) -> list[str]:
    """Return what is wrong with a value, by a schema of the document."""
    rooted = {**schema, "components": document["components"]}
    checker = OAS31Validator.FORMAT_CHECKER
    return [
        f"{error.json_path}: {error.message}"
        for error in OAS31Validator(rooted, format_checker=checker).iter_errors(value)
    ]


def shown(document: Json, content: Json) -> dict[str, Any]:
    """Return {name: value} of the examples of a body."""
    found = {}
    for name, example in content.get("examples", {}).items():
        reference = example.get("$ref", "").removeprefix("#/components/examples/")
        found[name] = (document["components"]["examples"][reference] if reference else example)[
            "value"
        ]
    return found


def message_misfits(
    document: Json, message: str, body: Json, headers: Mapping[str, str]
) -> list[str]:
    """Return what is wrong with a message that was sent, by the webhooks of the document."""
    said = document["webhooks"][message]["post"]
    schema = said["requestBody"]["content"]["application/json"]["schema"]
    missing = [
        each["name"]
        for each in said["parameters"]
        if each["required"] and each["name"] not in headers
    ]
    return misfits(document, schema, body) + [f"header {name} is missing" for name in missing]
