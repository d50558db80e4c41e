"""Storable: what every database can keep, and clear words about the rest."""

import json
import math
import re
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.bookkeeping.storable import storable_object, storable_text
from program_service.bookkeeping.unstorable import NotStorable, copied

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


class Colour(Enum):
    """An enum, as jobs have them."""

    RED = "red"


class Word(StrEnum):
    """One whose members are texts."""

    NEW = "new"


class Hidden:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("there are no words")


@dataclass
class Point:
    """A dataclass."""

    x: int = 1


class Pair(NamedTuple):
    """A tuple with names."""

    x: int = 1


PLACE = re.escape("x")
ONLY_FINITE = "JSON has finite numbers only"
UNSTORABLE: dict[str, tuple[Any, str]] = {
    "nan": (math.nan, f"x.deep[1].y is NaN; {ONLY_FINITE}"),
    "infinity": (math.inf, f"x.deep[1].y is Infinity; {ONLY_FINITE}"),
    "minus infinity": (-math.inf, f"x.deep[1].y is -Infinity; {ONLY_FINITE}"),
    "2^63": (2**63, "x.deep[1].y is an integer beyond 64 bits; store it as a string"),
    "2^64": (2**64, "x.deep[1].y is an integer beyond 64 bits"),
    "below -2^63": (-(2**63) - 1, "x.deep[1].y is an integer beyond 64 bits"),
    "digits": (10**5_000, "x.deep[1].y is an integer beyond 64 bits"),
    "decimal": (Decimal("9.99"), "x.deep[1].y is Decimal('9.99'); store str() of it"),
    "moment": (datetime(2026, 1, 2, tzinfo=UTC), "y is datetime.datetime(2026, 1, 2, 0, 0, tzinfo"),
    "day": (date(2026, 1, 2), "y is datetime.date(2026, 1, 2); store a text, as from isoformat()"),
    "time": (time(3, 4), "y is datetime.time(3, 4); store a text, as from isoformat()"),
    "duration": (timedelta(seconds=5), "y is datetime.timedelta(seconds=5); store its total_sec"),
    "tuple": ((1, 2), "x.deep[1].y is a tuple; store a list"),
    "named tuple": (Pair(), "x.deep[1].y is a Pair; store a list"),
    "set": ({1}, "x.deep[1].y is a set; store a list"),
    "frozen set": (frozenset({1}), "x.deep[1].y is a frozenset; store a list"),
    "bytes": (b"raw", "x.deep[1].y is 3 bytes; store a text, for example as base64"),
    "enum": (Colour.RED, "x.deep[1].y is Colour.RED; store its value"),
    "text enum": (Word.NEW, "x.deep[1].y is Word.NEW; store its value"),
    "number enum": (HTTPStatus.OK, "x.deep[1].y is HTTPStatus.OK; store its value"),
    "uuid": (UUID(int=7), "y is UUID('00000000-0000-0000-0000-000000000007'); store str() of it"),
    "complex": (1j, "x.deep[1].y is a complex; JSON has objects (dict), lists, texts,"),
    "class": (object, "x.deep[1].y is a type; JSON has objects"),
    "dataclass": (Point(), "x.deep[1].y is a Point; dataclasses.asdict() makes a dict of it"),
    "without a repr": (Hidden(), "x.deep[1].y is a Hidden; JSON has objects"),
    "surrogate": ("a\ud83d", "x.deep[1].y holds half of a surrogate pair (U+D83D)"),
    "NUL": ("a\0", "x.deep[1].y holds the character NUL (U+0000), which PostgreSQL cannot store"),
    "number as key": ({1: 2}, "x.deep[1].y has a key that is 1; the keys of a JSON object are tex"),
    "None as key": ({None: 2}, "x.deep[1].y has a key that is None"),
    "enum as key": ({Word.NEW: 2}, "x.deep[1].y has a key that is Word.NEW"),
    "surrogate in a key": ({"\ud800": 1}, "x.deep[1].y['\\ud800'] holds half of a surrogate pair"),
    "NUL in a key": ({"a\0": 1}, "x.deep[1].y['a\\x00'] holds the character NUL"),
    "key in words": ({"a key": math.nan}, "x.deep[1].y['a key'] is NaN"),
}


@pytest.mark.parametrize(("value", "said"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_is_rejected_with_its_path(value: object, said: str) -> None:
    with pytest.raises(NotStorable, match=f"^job_data: x.*{re.escape(said).removeprefix(PLACE)}"):
        storable_object({"a": 1, "x": {"deep": [0, {"y": value}]}}, what="job_data")


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(b=1, a=2),
        defaultdict(list, a=[1]),
        type("Texts", (str,), {})("text"),
        type("Whole", (int,), {})(7),
        type("Real", (float,), {})(0.5),
        type("Many", (list,), {})([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_of_what_json_has_are_stored_as_what_they_equal(value: object) -> None:
    stored = storable_object({"a": value}, what="job_data")["a"]
    assert stored == value
    assert type(stored) in type(value).__bases__


def test_long_path_is_shown_in_part() -> None:
    value: object = math.nan
    for at in range(90):
        value = {f"{at}-{'long' * 10}": value}
    with pytest.raises(NotStorable) as caught:
        storable_object(value, what="job_data")
    assert len(str(caught.value)) < 400


def test_value_that_holds_itself_is_rejected() -> None:
    value: dict[str, Any] = {}
    value["itself"] = value
    with pytest.raises(NotStorable, match="job_data nests deeper than 100 levels"):
        storable_object(value, what="job_data")


@pytest.mark.parametrize("innermost", [1, 1.5, "text", {}, [], (), math.nan], ids=repr)
def test_both_walks_agree_on_how_deep_a_value_nests(innermost: object) -> None:
    for levels in (99, 100, 101):
        value: object = innermost
        for _ in range(levels):
            value = {"in": value}
        with suppress(NotStorable):
            assert storable_object(value, what="job_data") == value
            assert copied(value, what="job_data") == value
            continue
        with pytest.raises(NotStorable):
            copied(value, what="job_data")


def test_value_of_too_many_parts_is_rejected() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(NotStorable, match="job_data holds more than 2000000 values"):
        storable_object({"a": value}, what="job_data")


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\x01", "\u2400"])
def test_what_only_looks_like_nul_is_kept(text: str) -> None:
    value = {"a": text, text: [text]}
    assert storable_object(value, what="job_data") == value


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
