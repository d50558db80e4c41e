"""Data, fuzzed: what comes from outside raises nothing that its reader does not name, and nothing
is stored other than as it was given.

What endpoints answer is in test_answers_fuzzed.py.
"""

import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lines import logging_as_workers_do
from odd_answers import BODIES, VALUES, exact
from odd_data import OBJECTS, is_same, is_storable
from program_service.api.bodies import parse
from program_service.api.problems import Problem
from program_service.api.schemas import CompleteRequest, FailRequest
from program_service.bookkeeping.lifecycle import Claimed, Done
from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.bookkeeping.unstorable import NotStorable
from program_service.settings import Settings
from program_service.wakeups.broker import Cancelled, Quieted, Wakeup
from program_service.wakeups.rabbitmq.messages import Unparsable, read, read_announcement, write
from program_service.webhooks.answers import done, outcome_of_error
from program_workers.job_log import JobLog

CODES = {
    400: {"malformed_body"},
    422: {"nul_character", "integer_too_long", "nested_too_deeply"},
}
MESSAGES = BODIES | st.fixed_dictionaries(
    {},
    optional={
        "run_ids": VALUES | st.lists(st.text(max_size=5), max_size=3),
        "published_at": VALUES | st.datetimes().map(lambda each: f"{each.isoformat()}+00:00"),
        "hops": VALUES | st.integers(0, 9),
        "cancelled": VALUES,
        "lease": VALUES,
        "quieted": VALUES,
    },
).map(lambda fields: json.dumps(fields).encode())
PROGRAM = Claimed(
    id=1,
    run_id="run-1",
    lease="lease-1",
    jobs=["charge"],
    step=0,
    step_retry_count=0,
    lease_losses=0,
    resumes=0,
    program_data={},
    job_data={},
    created_at=datetime.now(UTC),
    claimed_at=datetime.now(UTC),
    version=1,
)
MANY = settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_result(value: dict[Any, Any]) -> None:
    """Store what a job returns: as it is, or not at all, and say where."""
    what = "what job 'charge' returned"
    if not is_storable(value):
        with pytest.raises(NotStorable, match=f"^{what}") as caught:
            storable_object(value, what=what)
        assert storable_text(str(caught.value)) == str(caught.value)
        return
    stored = storable_object(value, what=what)
    assert is_same(stored, value)
    assert is_same(orjson.loads(orjson.dumps(stored)), value)


def check_body(body: bytes) -> None:
    """Read a request: what it says, or a problem."""
    problem = None
    try:
        value = parse(body)
    except Problem as error:
        problem = error
    if problem is None:
        assert is_same(value, exact(body))
        check_completion(value)
    else:
        assert problem.code in CODES[problem.status_code]
        assert problem.detail


def check_completion(value: Any) -> None:
    """Read the body of a completion, and that of a failure."""
    try:
        request = CompleteRequest.model_validate(value)
    except ValidationError:
        pass
    else:
        outcome = done(request.model_dump(exclude_none=True))
        assert isinstance(outcome, Done)
        assert is_same(outcome.job_data, value.get("job_data") or {})
    try:
        failure = FailRequest.model_validate(value)
    except ValidationError:
        return
    assert outcome_of_error(failure.error.model_dump(exclude_none=True)).failure.message


def check_message(body: bytes) -> None:
    """Read a message of the broker."""
    try:
        wakeup = read(body, "default")
    except Unparsable:
        pass
    else:
        assert isinstance(wakeup, Wakeup)
        assert read(write(wakeup), "default") == wakeup
    with suppress(Unparsable):
        assert isinstance(read_announcement(body), Cancelled | Quieted)


def check_log(fields: dict[Any, Any]) -> None:
    """Log fields as a job does: the line can be stored, and JSON stays what it is."""
    log = JobLog(Settings(attempt_log_bytes=65_536))
    with logging_as_workers_do(level="INFO"), log.listening():
        lines = log.begin(PROGRAM)
        structlog.get_logger().info("moved", data=fields)
        (line,) = lines.end() or [{}]
    assert line["text"] == "moved"
    assert is_same(storable_object(line, what="a line"), line)
    if is_storable(fields):
        assert is_same(line["fields"], {"data": fields})


@given(OBJECTS)
@example({"x": {"deep": [0, {"y": math.nan}]}})
@example({"a": 2**63})
@example({"a": (1, 2)})
def test_result_is_stored_as_it_is_or_rejected(value: dict[Any, Any]) -> None:
    check_result(value)


@pytest.mark.long
@pytest.mark.timeout(600)
@MANY
@given(OBJECTS)
def test_result_is_stored_as_it_is_or_rejected_in_many_more_examples(value: dict[Any, Any]) -> None:
    check_result(value)


@given(BODIES)
@example(b'{"job_data": {"id": 12345678901234567890}}')
@example(b'\xef\xbb\xbf{"job_data": {"a": null}}')
def test_completion_is_read_exactly_or_rejected(body: bytes) -> None:
    check_body(body)


@pytest.mark.long
@pytest.mark.timeout(600)
@MANY
@given(BODIES)
def test_completion_is_read_exactly_or_rejected_in_many_more_examples(body: bytes) -> None:
    check_body(body)


@given(MESSAGES)
def test_message_is_in_its_ranges_or_none(body: bytes) -> None:
    check_message(body)


@pytest.mark.long
@pytest.mark.timeout(600)
@MANY
@given(MESSAGES)
def test_message_is_in_its_ranges_or_none_in_many_more_examples(body: bytes) -> None:
    check_message(body)


@given(OBJECTS)
@example({"a": math.nan, "b": 2**63, "c": "\0"})
def test_line_of_a_job_can_be_stored_and_keeps_its_json(fields: dict[Any, Any]) -> None:
    check_log(fields)


@pytest.mark.long
@pytest.mark.timeout(600)
@MANY
@given(OBJECTS)
def test_line_of_a_job_can_be_stored_in_many_more_examples(fields: dict[Any, Any]) -> None:
    check_log(fields)
