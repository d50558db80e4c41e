"""Odd answers: what endpoints may send, sane or not, for fuzzing."""

import json
from typing import Any

from hypothesis import strategies as st

BEYOND_FLOAT = "1" + "0" * 400
TEXTS = st.text() | st.sampled_from(["", "\0", "\ud83d", "x" * 100_000, "\N{GRINNING FACE}" * 9])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)
DEEP = st.builds(
    lambda depth, opening: opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth,
    st.integers(1, 3_000),
    st.sampled_from(["[", '{"a":']),
)
ODD_JSON = DEEP | st.sampled_from(
    [BEYOND_FLOAT, "1e400", "NaN", "-Infinity", "1e16", "-0.0", '"\\ud83d"', '"\\u0000"', "-0"]
)
PLACES = (
    '{"detail": %s}',
    '{"title": %s}',
    '{"error": %s}',
    '{"error": {"message": %s}}',
    '{"error": {"message": "broke", "code": %s}}',
    '{"error": {"message": "broke", "retryable": %s, "ignorable": %s}}',
    '{"job_data": %s}',
    '{"job_data": {"a": %s}}',
    '{"program_data": %s}',
    "%s",
)
TYPICAL = st.builds(
    lambda place, value: place.replace("%s", value).encode("utf-8", "surrogatepass"),
    st.sampled_from(PLACES),
    VALUES.map(json.dumps) | ODD_JSON,
)
MARKED = TYPICAL.map(lambda body: b"\xef\xbb\xbf" + body)
CUT = st.builds(lambda body, at: body[:at], TYPICAL, st.integers(1, 60))
OTHERWISE = st.builds(
    lambda value, encoding: json.dumps({"job_data": value}, ensure_ascii=False).encode(
        encoding, "replace"
    ),
    VALUES,
    st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]),
)
BODIES = TYPICAL | MARKED | CUT | OTHERWISE | st.binary(max_size=200)
JSON_TYPES = ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}{}".format,
    st.sampled_from(["Mon", "Sun", "", "Xyz"]),
    st.integers(0, 99),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    st.sampled_from([0, 1, 68, 69, 99, 1969, 2027, 9999, 10_000, 10**9]),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61) | st.just(""),
    st.sampled_from(["GMT", "+", "-", "", "EST", "Z"]),
    st.integers(0, 10**20) | st.just(""),
)
WAITS = (
    DATES
    | st.integers().map(str)
    | st.sampled_from(["9" * 5_000, "1e9", "\u0661", "\u00b2", "1_000", " 7 ", "-0", "7, 8", ","])
    | st.text(st.characters(max_codepoint=255))
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": WAITS,
        "location": st.text(st.characters(max_codepoint=255)) | st.just("x" * 1_000_000),
        "content-type": st.text() | st.sampled_from(JSON_TYPES),
    },
)
STATUSES = st.integers(0, 999) | st.sampled_from([-1, 99, 199, 200, 202, 300, 410, 429, 500, 10**9])


def exact(body: bytes) -> Any:
    """Return what a text of JSON says, by Python's exact reader; `...` if it is none."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return ...
