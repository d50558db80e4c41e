"""What the next release will say besides: messages, tokens and cursors with one field more.

What is stored of jobs and workers is in tests/contract/test_registrations.py.
"""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson

from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.reading import read_cursor, write_cursor
from program_service.wakeups.broker import Cancelled, Quieted, Wakeup
from program_service.wakeups.rabbitmq import messages
from program_service.webhooks import tokens

KEY = tokens.new_token_key()
TICKET = Ticket("run-1", step=2, resumes=0, attempt=3)
WAKEUP = Wakeup("mail", ("run-1", "run-2"), datetime(2026, 1, 2, tzinfo=UTC), hops=1)


def text_of(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def with_more(body: bytes, **fields: Any) -> bytes:
    return orjson.dumps(orjson.loads(body) | fields)


def test_wakeup_is_read() -> None:
    body = messages.write(WAKEUP)
    assert messages.read(with_more(body, priority=9), "mail") == WAKEUP


def test_wakeup_that_does_without_hops_is_read() -> None:
    fields = orjson.loads(messages.write(WAKEUP))
    del fields["hops"]
    assert messages.read(orjson.dumps(fields), "mail").hops == 0


def test_announcements_are_read() -> None:
    for announcement in (Cancelled("run-1", "lease-1"), Quieted("worker-1")):
        body = with_more(messages.write_announcement(announcement), by="mary")
        assert messages.read_announcement(body) == announcement


def test_token_is_read_and_is_genuine() -> None:
    payload, _ = tokens.write_token(TICKET, "mail", token_key=KEY).split(".")
    longer = orjson.dumps([*orjson.loads(bytes_of(payload)), "of-the-next-release"])
    token = f"{text_of(longer)}.{text_of(tokens._tag(KEY, longer))}"
    signed = tokens.read_token(token)
    assert (signed.ticket, signed.job, signed.is_of(KEY)) == (TICKET, "mail", True)


def test_cursor_is_read() -> None:
    text = text_of(with_more(bytes_of(write_cursor(7)), order="oldest"))
    assert read_cursor(text) == 7
