"""Storable: what every database can keep, and clear words about the rest."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.bookkeeping.storable import (
    NotStorable,
    holds_nul,
    storable_object,
    storable_text,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


@given(st.dictionaries(TEXTS, VALUES))
def test_json_objects_are_kept_as_they_are(value: dict[str, Any]) -> None:
    stored = storable_object(value, what="job_data")
    assert json.dumps(stored) == json.dumps(value)


def test_what_is_stored_is_not_what_was_given() -> None:
    inner: list[int] = [1]
    stored = storable_object({"a": inner}, what="job_data")
    inner.append(2)
    assert stored == {"a": [1]}


@pytest.mark.parametrize("value", [None, [], "text", 7, [("a", 1)], {"a"}, object()])
def test_only_dicts_are_objects(value: object) -> None:
    with pytest.raises(NotStorable, match=f"job_data must be a dict, not {type(value).__name__}"):
        storable_object(value, what="job_data")


@pytest.mark.parametrize(
    "value",
    [object, {1, 2}, b"bytes", 1j, 2**64, -(2**63) - 1, {1: "a number as key"}, "\ud800"],
    ids=str,
)
def test_values_that_are_no_json_are_refused(value: object) -> None:
    with pytest.raises(NotStorable, match="job_data must hold JSON values only"):
        storable_object({"deep": [{"down": value}]}, what="job_data")


@pytest.mark.parametrize(
    "value",
    [
        {"a": "\0"},
        {"\0": 1},
        {"a": ["x", ["y\0z"]]},
        {"a": {"b": {"c\0": None}}},
        {"a": [{"b": "\\u0000 and \0"}]},
    ],
)
def test_nul_is_refused_wherever_it_is(value: dict[str, Any]) -> None:
    with pytest.raises(NotStorable, match="program_data holds the character NUL"):
        storable_object(value, what="program_data")


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\x01", "\u2400"])
def test_what_only_looks_like_nul_is_kept(text: str) -> None:
    value = {"a": text, text: [text]}
    assert storable_object(value, what="job_data") == value


def test_moments_are_stored_as_texts() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    stored = storable_object({"at": moment}, what="job_data")
    assert datetime.fromisoformat(stored["at"]) == moment


@given(VALUES)
def test_values_without_nul_hold_none(value: object) -> None:
    assert not holds_nul(value)


@given(TEXTS)
def test_storable_texts_are_kept_as_they_are(text: str) -> None:
    assert storable_text(text) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_can_be_made_storable(text: str) -> None:
    stored = storable_text(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert len(stored) == len(text)


def test_what_cannot_be_stored_is_replaced_visibly() -> None:
    assert storable_text("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
    assert storable_text("a\ud800b") == "a?b"
