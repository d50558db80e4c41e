"""Cursors: opaque, safe in a URL, and refused when they are not ours."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.bookkeeping.ledger.pages import BadCursor
from program_service.bookkeeping.ledger.reading import read_cursor, write_cursor

IDS = st.integers(0, 2**63 - 1)


def _encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@given(IDS)
def test_cursor_is_read_as_it_was_written(last_id: int) -> None:
    assert read_cursor(write_cursor(last_id)) == last_id


@given(IDS)
def test_cursor_needs_no_escaping_in_a_url(last_id: int) -> None:
    assert set(write_cursor(last_id)) <= set(string.ascii_letters + string.digits + "-_")


@given(st.text())
def test_any_other_text_is_refused_and_breaks_nothing(text: str) -> None:
    try:
        last_id = read_cursor(text)
    except BadCursor:
        return
    assert 0 <= last_id < 2**63


@given(st.binary())
def test_any_other_content_is_refused_and_breaks_nothing(content: bytes) -> None:
    with pytest.raises(BadCursor):
        read_cursor(_encoded(content))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "7",
        "null",
        "[]",
        '["id"]',
        "{}",
        '"id"',
        '{"id": null}',
        '{"id": "7"}',
        '{"id": 7.0}',
        '{"id": true}',
        '{"id": -1}',
        '{"id": 9223372036854775808}',
        '{"id": [7]}',
        '{"id": NaN}',
        '{"ID": 7}',
        '{"id": 7',
    ],
)
def test_content_that_is_no_position_is_refused(content: str) -> None:
    with pytest.raises(BadCursor):
        read_cursor(_encoded(content))


@pytest.mark.parametrize("cursor", ["", "=", "a", "é", "a b", "+/+/", "\0", "eyJpZCI6N30\n"])
def test_text_that_is_no_base64_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        read_cursor(cursor)


def test_error_says_where_cursors_come_from() -> None:
    with pytest.raises(BadCursor, match="Link header"):
        read_cursor("not-ours")
