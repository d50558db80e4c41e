"""Types of the clients: they are those of the API, field by field."""

from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from program_executor import access_shapes, shapes
from program_executor.commands.selecting import chosen_filters
from program_service.api.access import (
    AuditEntryModel,
    AuditListModel,
    KeyListModel,
    KeyModel,
    SessionListModel,
    SessionModel,
)
from program_service.api.queries import AttemptQuery, ProgramQuery
from program_service.api.schemas import CallbackJobRequest, ProgramRequest, RetryRequest
from program_service.api.views import (
    AttemptListModel,
    AttemptModel,
    BatchItem,
    ExplanationModel,
    JobModel,
    ListedProgramModel,
    LogLineModel,
    ProgramListModel,
    ProgramModel,
    WorkerModel,
)
from program_service.bookkeeping.lifecycle import Status


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        (shapes.Program, ProgramModel),
        (shapes.ListedProgram, ListedProgramModel),
        (shapes.ProgramPage, ProgramListModel),
        (shapes.AttemptPage, AttemptListModel),
        (shapes.Paging, AttemptQuery),
        (shapes.ProgramBody, ProgramRequest),
        (shapes.Submitted, BatchItem),
        (shapes.Attempt, AttemptModel),
        (shapes.LogLine, LogLineModel),
        (shapes.Explanation, ExplanationModel),
        (shapes.Job, JobModel),
        (shapes.Endpoint, CallbackJobRequest),
        (shapes.RetryPolicy, RetryRequest),
        (shapes.Worker, WorkerModel),
        (access_shapes.ApiKey, KeyModel),
        (access_shapes.ApiKeyPage, KeyListModel),
        (access_shapes.Session, SessionModel),
        (access_shapes.SessionPage, SessionListModel),
        (access_shapes.AuditEntry, AuditEntryModel),
        (access_shapes.AuditPage, AuditListModel),
    ],
)
def test_types_have_the_fields_of_the_api(shape: type[Any], model: type[BaseModel]) -> None:
    assert get_type_hints(shape).keys() == model.model_fields.keys()


def test_filters_of_the_clients_and_of_the_command_line_are_those_of_the_api() -> None:
    known = ProgramQuery.model_fields.keys() - {"cursor"}
    assert get_type_hints(shapes.Filters).keys() == known
    assert chosen_filters().keys() == known - {"order", "limit", "include"}


def test_statuses_are_those_of_the_api() -> None:
    assert set(get_args(shapes.Status)) == {status.value for status in Status}
    assert {status.value for status in Status if status.is_final} == shapes.FINAL
