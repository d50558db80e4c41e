"""Moments: what people type, and what they read."""

from datetime import UTC, datetime

import pytest

from program_executor.commands.moments import age, duration, moment, seconds_between
from program_executor.errors import UsageError

NOW = datetime(2027, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2027-01-31T06:30:00+00:00"),
        ("1h30m", "2027-01-31T06:30:00+00:00"),
        ("1.5h", "2027-01-31T06:30:00+00:00"),
        ("2d", "2027-01-29T08:00:00+00:00"),
        ("1w 10s", "2027-01-24T07:59:50+00:00"),
        ("2027-01-31T08:00Z", "2027-01-31T08:00:00+00:00"),
        ("2027-01-31T08:00:00.5+02:00", "2027-01-31T06:00:00.500000+00:00"),
    ],
)
def test_moment_is_so_long_ago_or_as_it_is_written(text: str, expected: str) -> None:
    assert moment(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["", "h", "1", "1y", "yesterday", "-1h", "1h ago", "99:99"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment"):
        moment(text, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7_500, "2 h 5 min"),
        (266_400, "3 d 2 h"),
    ],
)
def test_duration_is_as_exact_as_people_want_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (12, "12s"), (1_700, "28m"), (18_000, "5h"), (300_000, "3d")],
)
def test_age_takes_little_space(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_clock_that_is_behind_makes_no_negative_ages() -> None:
    assert seconds_between("2027-01-31T08:00:05Z", NOW) == 0
    assert seconds_between("2027-01-31T07:59:55Z", NOW) == pytest.approx(5)
