"""Odd data: what jobs may return, set and log, storable or not, and what that should become."""

import json
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

from hypothesis import strategies as st


class Colour(Enum):
    """An enum, as jobs have them."""

    RED = "red"


class Level(IntEnum):
    """One whose members are numbers."""

    LOW = 1


class Unsayable:
    """A value without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddText(str):
    """A text that is not what it says."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")


SURROGATES = st.text(st.characters(exclude_categories=[]))
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from(
        [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**20, 10**400]
    )
    | st.sampled_from([0.1, 1.0, -0.0, 1e16, 1e22, 1e-7, 5e-324, math.nan, math.inf, -math.inf])
)
FOREIGN = st.sampled_from(
    [
        *(Decimal("9.99"), UUID(int=7), Colour.RED, Level.LOW, b"raw", bytearray(b"raw"), {1}),
        *((1, 2), (), 1j, object, Unsayable(), OddText("a"), datetime(2026, 1, 2, tzinfo=UTC)),
        *(date(2026, 1, 2), time(3, 4), timedelta(seconds=5), frozenset(), range(3), len),
    ]
)
KEYS = SURROGATES | st.integers() | st.sampled_from([None, Colour.RED, Level.LOW, b"raw", (1,)])
LEAVES = st.none() | st.booleans() | NUMBERS | SURROGATES | FOREIGN
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(SURROGATES, inner).map(OrderedDict)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, DATA, max_size=5)


def is_storable(value: Any) -> bool:
    """Say whether a value of Python is JSON that all databases keep, by another way than ours."""
    if isinstance(value, dict):
        texts = all(isinstance(key, str) and is_storable(key) for key in value)
        return texts and all(map(is_storable, value.values()))
    if isinstance(value, list):
        return all(map(is_storable, value))
    if isinstance(value, str):
        return not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in value)
    if isinstance(value, int) and not isinstance(value, Enum):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def is_same(one: Any, other: Any) -> bool:
    """Say whether two values are the same JSON, with the same types of numbers."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
