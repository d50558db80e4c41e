"""Retry: policies that can be meant, and delays within their bounds."""

import math
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.bookkeeping.retry import Retry, draw

DURATIONS = st.floats(0, 3e8)
"""Up to nine years: nothing that is cut."""

POLICIES = st.builds(
    Retry,
    max_attempts=st.integers(1, 10_000),
    initial_s=DURATIONS,
    factor=st.floats(1, allow_infinity=False),
    max_s=DURATIONS,
    jitter=st.sampled_from(["full", "none"]),
)
RETRIES = st.integers(1, 10_000)
DRAWS = st.floats(0, 1, exclude_max=True)
AFTER = st.none() | st.timedeltas(timedelta(0), timedelta(days=365))


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"initial_s": -0.1},
        {"max_s": -1},
        {"factor": 0.99},
        {"jitter": "half"},
        {"initial_s": math.nan},
        {"max_s": math.nan},
        {"factor": math.nan},
        {"initial_s": math.inf},
        {"factor": math.inf},
    ],
    ids=str,
)
def test_policy_that_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Retry(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_attempts": 1},
        {"initial_s": 0, "max_s": 0, "factor": 1},
        {"jitter": "none"},
        {"initial_s": 60, "max_s": 1},
    ],
    ids=str,
)
def test_policy_at_the_edge_is_accepted(fields: dict[str, Any]) -> None:
    assert replace(Retry(), **fields) == Retry(**fields)


@pytest.mark.parametrize(
    ("retry", "wait_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (12, 2048.0), (13, 3600.0)]
)
def test_delay_doubles_up_to_an_hour_by_default(retry: int, wait_s: float) -> None:
    policy = replace(Retry(), jitter="none")
    assert policy.delay_s(retry, after=None, draw=0.3) == wait_s
    assert Retry().delay_s(retry, after=None, draw=0.25) == wait_s / 4


@given(POLICIES, RETRIES, DRAWS, AFTER)
def test_delay_stays_within_its_bounds(
    policy: Retry, retry: int, draw: float, after: timedelta | None
) -> None:
    asked_s = after.total_seconds() if after else 0.0
    wait_s = policy.delay_s(retry, after=after, draw=draw)
    assert asked_s <= wait_s <= max(policy.max_s, asked_s)


@given(st.floats(0, 1e300), RETRIES, st.timedeltas(timedelta(0)))
def test_no_delay_leaves_the_calendar(max_s: float, retry: int, after: timedelta) -> None:
    """Invariant 12: an endpoint may answer any Retry-After."""
    policy = Retry(initial_s=1e300, max_s=max_s, jitter="none")
    wait_s = policy.delay_s(retry, after=after, draw=0.0)
    due_at = datetime(2100, 1, 1, tzinfo=UTC) + timedelta(seconds=wait_s)
    assert due_at.year < 2200


@given(POLICIES, RETRIES)
def test_delay_never_shrinks_from_retry_to_retry(policy: Retry, retry: int) -> None:
    steady = replace(policy, jitter="none")
    sooner = steady.delay_s(retry, after=None, draw=0.0)
    assert sooner <= steady.delay_s(retry + 1, after=None, draw=0.0)


@given(POLICIES, RETRIES, DRAWS)
def test_jitter_only_shortens(policy: Retry, retry: int, draw: float) -> None:
    full = replace(policy, jitter="full").delay_s(retry, after=None, draw=draw)
    none = replace(policy, jitter="none").delay_s(retry, after=None, draw=draw)
    assert full == none * draw


@given(POLICIES, DRAWS, AFTER)
def test_what_the_job_asks_for_is_a_lower_bound_only(
    policy: Retry, draw: float, after: timedelta | None
) -> None:
    plain = policy.delay_s(1, after=None, draw=draw)
    asked_s = after.total_seconds() if after else 0.0
    assert policy.delay_s(1, after=after, draw=draw) == max(plain, asked_s)


def test_jitter_is_no_job_module_s_to_seed() -> None:
    """Workers of one job module would all wait alike."""
    random.seed(1)
    first = draw()
    random.seed(1)
    assert draw() != first
    root = Path(__file__).parents[2]
    using = [
        file.name
        for folder in ("service", "workers")
        for file in (root / folder).rglob("*.py")
        if re.search(r"^import random|^from random", file.read_text(), re.MULTILINE)
    ]
    assert using == ["retry.py"]
