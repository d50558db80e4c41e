"""Messages: a wake-up is in its ranges, or it is none."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.names import MAX_NAME
from program_service.wakeups.broker import MAX_HOPS, Cancelled, Quieted, Wakeup
from program_service.wakeups.rabbitmq.messages import (
    MAX_BYTES,
    MAX_RUN_IDS,
    Unparsable,
    read,
    read_announcement,
    write,
    write_announcement,
)

MAY = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
GOOD: dict[str, Any] = {"run_ids": ["p-1"], "published_at": MAY.isoformat(), "hops": 0}


def test_wakeup_is_read_as_it_was_written() -> None:
    wakeup = Wakeup("mail", ("ö-1", "x" * MAX_NAME), MAY, MAX_HOPS)
    assert read(write(wakeup), "mail") == wakeup


@pytest.mark.parametrize(
    "odd",
    [
        {"hops": -1},
        {"hops": MAX_HOPS + 1},
        {"hops": True},
        {"hops": 1.0},
        {"hops": "1"},
        {"hops": None},
        {"run_ids": []},
        {"run_ids": ["p"] * (MAX_RUN_IDS + 1)},
        {"run_ids": [""]},
        {"run_ids": ["x" * (MAX_NAME + 1)]},
        {"run_ids": ["p\0"]},
        {"run_ids": [["p"]]},
        {"run_ids": "p"},
        {"published_at": "9999-12-31T23:59:59.999999+00:00"},
        {"published_at": "9999-12-31T23:59:59.999999-23:59"},
        {"published_at": "0001-01-01T00:00:00+23:59"},
        {"published_at": "1970-01-01T00:00:00+00:00"},
        {"published_at": "2099-01-01T00:00:00+00:00"},
        {"published_at": "2026-05-04T12:00:00"},
        {"published_at": 1_777_896_000},
        {"published_at": None},
        {"published_at": "x" * 1_000_000},
    ],
    ids=lambda odd: repr(odd)[:60],
)
def test_what_is_out_of_its_range_is_no_wakeup(odd: dict[str, Any]) -> None:
    with pytest.raises(Unparsable) as caught:
        read(orjson.dumps(GOOD | odd), "default")
    assert len(str(caught.value)) < 300


def test_time_of_a_database_that_is_ahead_of_this_host_is_taken() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert read(write(Wakeup("default", ("p",), tomorrow)), "default").published_at == tomorrow


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary() | JSON.map(orjson.dumps))
def test_any_bytes_are_a_wakeup_or_unparsable(body: bytes) -> None:
    for reads in (lambda: read(body, "default"), lambda: read_announcement(body)):
        with suppress(Unparsable):
            reads()


@given(st.fixed_dictionaries({"run_ids": JSON, "published_at": JSON, "hops": JSON}))
def test_any_fields_are_a_wakeup_or_unparsable(value: dict[str, Any]) -> None:
    with suppress(Unparsable):
        read(orjson.dumps(value), "default")


@pytest.mark.parametrize("reads", [partial(read, queue="default"), read_announcement])
def test_message_that_is_too_long_is_not_parsed(reads: Callable[[bytes], object]) -> None:
    with pytest.raises(Unparsable, match=r"at most 1,000,000 bytes, and this one has 1,000,001"):
        reads(b" " * (MAX_BYTES + 1))


def test_longest_ids_fit_into_a_message() -> None:
    wakeup = Wakeup("default", ("\U0001f600" * MAX_NAME,) * MAX_RUN_IDS, MAY)
    escaped = json.dumps(json.loads(write(wakeup))).encode()
    assert len(escaped) < MAX_BYTES
    assert read(escaped, "default") == wakeup


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 1_000 + b"]" * 1_000,
        b'{"cancelled": 1}',
        b"null",
        b'{"cancelled": ""}',
        b'{"cancelled": "p", "lease": ""}',
        orjson.dumps({"cancelled": "p" * 256}),
        orjson.dumps({"cancelled": "p", "lease": "x" * 33}),
        orjson.dumps({"cancelled": "p\0"}),
        orjson.dumps({"quieted": "x" * 256}),
        b'{"quieted": ["worker-1"]}',
    ],
    ids=lambda body: repr(body)[:60],
)
def test_what_is_no_announcement_is_unparsable(body: bytes) -> None:
    with pytest.raises(Unparsable):
        read_announcement(body)


@pytest.mark.parametrize("said", [Cancelled("p-ö"), Quieted("wörker-1")])
def test_announcement_is_read_as_it_was_written(said: Cancelled | Quieted) -> None:
    assert read_announcement(write_announcement(said)) == said
