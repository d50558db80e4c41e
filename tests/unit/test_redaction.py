"""Redaction: fields by name, at any depth; texts by the values of those fields."""

from dataclasses import dataclass
from typing import Any

import pytest

from program_service.bookkeeping.lifecycle import Done, Fail, Failure, RetryLater
from program_service.bookkeeping.veiling import veil_outcome
from program_service.redaction import VEIL, Redaction, veil_text

HIDING = Redaction(["Card", "password"])


@dataclass(frozen=True)
class Data:
    """What has data."""

    program_data: dict[str, Any]
    job_data: dict[str, Any]


def test_fields_are_hidden_at_any_depth_and_in_any_case() -> None:
    value = {"a": [{"CARD": 1}, {"b": {"card": {"n": 2}, "c": 3}}], "cards": 4}
    assert HIDING.data(value) == {"a": [{"CARD": VEIL}, {"b": {"card": VEIL, "c": 3}}], "cards": 4}
    assert value["a"] == [{"CARD": 1}, {"b": {"card": {"n": 2}, "c": 3}}]


def test_name_of_a_job_is_no_field() -> None:
    shown = HIDING.program(Data({"card": 1}, {"card": {"receipt": 7, "password": "x"}}))
    assert shown == Data({"card": VEIL}, {"card": {"receipt": 7, "password": VEIL}})


def test_nothing_is_touched_while_it_is_off() -> None:
    off, data = Redaction(), Data({"card": 1}, {})
    assert off.program(data) is data
    assert off.data(data.program_data) is data.program_data
    assert off.first_veil({"card": VEIL}) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"card": VEIL}, "card"),
        ({"a": [{"card": VEIL}]}, "a[0].card"),
        ({"card": {"number": VEIL}}, "card"),
        ({"card": "4242"}, None),
        ({"note": VEIL}, None),
    ],
)
def test_veil_that_is_sent_back_is_found(value: Any, path: str | None) -> None:
    assert HIDING.first_veil(value) == path


def test_hidden_values_are_taken_out_of_texts() -> None:
    data = Data({"card": "4242-4242", "name": "Ada"}, {"pay": {"password": ["tr\nue", 12345, 1]}})
    secrets = HIDING.secrets_of(data)
    text = "Ada paid with 4242-4242 and 12345, 1 time, 'tr\\nue'"
    assert veil_text(text, secrets) == f"Ada paid with {VEIL} and {VEIL}, 1 time, '{VEIL}'"


def test_longer_values_go_first() -> None:
    secrets = HIDING.secrets_of(Data({"card": "12345678"}, {"a": {"card": "1234"}}))
    assert veil_text("12345678 1234", secrets) == f"{VEIL} {VEIL}"


def test_outcomes_lose_what_is_hidden_and_nothing_else() -> None:
    failure = Failure("no 4242", type="Broke", traceback="at 4242", code="broke_4242")
    veiled = Failure(f"no {VEIL}", type="Broke", traceback=f"at {VEIL}", code=f"broke_{VEIL}")
    assert veil_outcome(RetryLater(failure), ["4242"]) == RetryLater(veiled)
    assert veil_outcome(Fail(failure, is_ignorable=True), ["4242"]) == Fail(
        veiled, is_ignorable=True
    )
    assert veil_outcome(Done({"n": "4242"}), ["4242"]) == Done({"n": "4242"})


def test_kept_lines_lose_what_is_hidden_wherever_it_stands() -> None:
    fields = {"note": {"said 4242": ["to 4242", 4242, 42421, None, True]}, "card": 1}
    (line,) = HIDING.lines([{"text": "with 4242", "fields": fields}], ["4242"])
    said = {f"said {VEIL}": [f"to {VEIL}", VEIL, 42421, None, True]}
    assert line == {"text": f"with {VEIL}", "fields": {"note": said, "card": VEIL}}


def test_log_lines_keep_what_every_line_has() -> None:
    hiding = Redaction(["event", "level", "card"])
    line = {"event": "job.done", "level": "info", "card": 1, "deep": {"card": 2}}
    assert hiding.log_line(None, "info", line) == {
        "event": "job.done",
        "level": "info",
        "card": VEIL,
        "deep": {"card": VEIL},
    }


def test_what_holds_itself_is_hidden_and_no_endless_walk() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert VEIL in str(HIDING.data(endless))
