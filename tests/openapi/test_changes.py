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
CANCEL = ("paths", "/programs/{run_id}/cancel")
NEW = {"type": "string"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(*CANCEL), "Path removed"),
        (without("paths", "/programs", "get"), "the operation list_programs is gone"),
        (with_value("stop", *CANCEL, "post", "operationId"), "cancel_program is gone"),
        (without(*PROGRAM, "properties", "queue"), "properties.queue: Property removed"),
        (without(*PROGRAM, "required", "queue"), "queue: Field is no longer required"),
        (with_value(NEW, *PROGRAM, "properties", "step"), "step: Schema type changed"),
        (with_value(["jobs", "labels"], *SCHEMAS, "ProgramRequest", "required"), "became required"),
        (without(*SCHEMAS, "ProgramRequest", "properties", "notify"), "Property removed"),
        (without(*SCHEMAS, "Problem"), "the schema Problem is gone"),
        (without(*SCHEMAS, "Status", "enum", "waiting"), "the value 'waiting' of Status is gone"),
        (without(*CANCEL, "post", "responses", "409"), "the code already_final of 409 is gone"),
        (without("webhooks", "job.execute"), "execute_job is gone"),
        (without(*SCHEMAS, "JobCall", "properties", "deadline"), "deadline: Property removed"),
    ],
)
def test_what_breaks_clients_is_found(
    document: Json, change: Callable[[Json], None], said: str
) -> None:
    new = json.loads(json.dumps(document))
    change(new)
    assert any(said in each for each in breaking(document, new)), breaking(document, new)


@pytest.mark.parametrize(
    "change",
    [
        with_value(NEW, *PROGRAM, "properties", "mood"),
        with_value(NEW, *SCHEMAS, "ProgramRequest", "properties", "mood"),
        with_value({"description": "Another."}, *CANCEL, "post", "responses", "202"),
        without(*SCHEMAS, "ProgramRequest", "required", "jobs"),
    ],
)
def test_what_only_adds_is_let_be(document: Json, change: Callable[[Json], None]) -> None:
    new = json.loads(json.dumps(document))
    change(new)
    assert breaking(document, new) == []


def test_document_breaks_no_client_of_the_last_release(document: Json) -> None:
    assert breaking(json.loads((FOLDER / "released.json").read_bytes()), document) == []
