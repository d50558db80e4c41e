"""Tokens: they come back as they were written, and nobody else can write one."""

import base64
import hmac
import re
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.token_keys import TokenKey
from program_service.webhooks.tokens import (
    MAX_TOKEN,
    TAG_BYTES,
    BadToken,
    new_token_key,
    read_token,
    write_token,
)

TICKET = Ticket(run_id="0192f0c1-7d3a-7cc3-98c4-dc0c0c07398f", step=2, resumes=1, attempt=3)
KEY = "11" * 32
DEPLOYMENT = TokenKey(7, "22" * 32, datetime.now(UTC))
JOB = "send_invoice"
TOKEN = write_token(TICKET, JOB, token_key=KEY)
NUMBERS = st.integers(0, 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def with_payload(payload: bytes) -> str:
    """Make a token of any payload; its tag is of no key."""
    parts = (base64.urlsafe_b64encode(part) for part in (payload, b"\0" * TAG_BYTES))
    return ".".join(part.rstrip(b"=").decode() for part in parts)


@given(job=TEXTS, run_id=TEXTS, step=NUMBERS, resumes=NUMBERS, attempt=NUMBERS)
def test_token_comes_back_as_it_was_written(
    job: str, run_id: str, step: int, resumes: int, attempt: int
) -> None:
    ticket = Ticket(run_id, step, resumes, attempt)
    token = write_token(ticket, job, token_key=KEY)
    signed = read_token(token)
    assert (signed.ticket, signed.job) == (ticket, job)
    assert signed.is_of(KEY)


@given(job=TEXTS, run_id=TEXTS, step=NUMBERS, resumes=NUMBERS, attempt=NUMBERS)
def test_token_of_the_deployment_comes_back_as_it_was_written(
    job: str, run_id: str, step: int, resumes: int, attempt: int
) -> None:
    ticket = Ticket(run_id, step, resumes, attempt)
    signed = read_token(write_token(ticket, job, token_key=KEY, by=DEPLOYMENT))
    assert (signed.ticket, signed.job, signed.key_id) == (ticket, job, 7)
    assert signed.is_of(DEPLOYMENT.secret)
    assert not signed.is_of(KEY)


def test_release_before_verifies_a_token_of_the_deployment() -> None:
    """It reads the first five fields, and verifies the tag at the end by the key of the job."""
    token = write_token(TICKET, JOB, token_key=KEY, by=DEPLOYMENT)
    payload, tag = (base64.urlsafe_b64decode(f"{part}==") for part in token.split("."))
    assert orjson.loads(payload)[:5] == [JOB, TICKET.run_id, 2, 1, 3]
    assert tag == hmac.digest(bytes.fromhex(KEY), payload, "sha256")[:TAG_BYTES]


def test_longest_token_is_read() -> None:
    name = "\x01" * 255
    ticket = Ticket(name, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    token = write_token(ticket, name, token_key=KEY, by=replace(DEPLOYMENT, id=2**31 - 1))
    assert read_token(token).ticket == ticket
    assert len(token) < MAX_TOKEN


@pytest.mark.parametrize("texts", [("\0", "run"), ("job", "a\0b")])
def test_nul_is_of_no_token(texts: tuple[str, str]) -> None:
    """PostgreSQL refuses even to look for it."""
    with pytest.raises(BadToken):
        read_token(with_payload(orjson.dumps([*texts, 0, 0, 1])))


def test_token_is_a_path_segment_as_it_is() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", TOKEN)


def test_same_step_has_the_same_token_and_any_other_has_another() -> None:
    others = [
        replace(TICKET, run_id="another"),
        replace(TICKET, step=3),
        replace(TICKET, resumes=2),
        replace(TICKET, attempt=4),
    ]
    tokens = {write_token(ticket, JOB, token_key=KEY) for ticket in [TICKET, *others]}
    tokens.add(write_token(TICKET, "another", token_key=KEY))
    assert len(tokens) == 6
    assert write_token(TICKET, JOB, token_key=KEY) == TOKEN


def test_key_of_another_job_did_not_make_it() -> None:
    assert not read_token(TOKEN).is_of(new_token_key())


def test_keys_are_of_32_bytes_and_differ() -> None:
    keys = {new_token_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)


def test_tag_of_one_step_does_not_pass_for_another() -> None:
    _, tag = TOKEN.split(".")
    payload, _ = write_token(replace(TICKET, step=3), JOB, token_key=KEY).split(".")
    forged = read_token(f"{payload}.{tag}")
    assert forged.ticket.step == 3
    assert not forged.is_of(KEY)


@given(bit=st.integers(0, TAG_BYTES * 8 - 1))
def test_tag_with_one_bit_changed_is_not_genuine(bit: int) -> None:
    signed = read_token(TOKEN)
    changed = int.from_bytes(signed.tag) ^ 1 << bit
    assert not replace(signed, tag=changed.to_bytes(TAG_BYTES)).is_of(KEY)


@pytest.mark.parametrize("count", [0, 1, TAG_BYTES - 1])
def test_tag_that_was_cut_short_is_not_genuine(count: int) -> None:
    signed = read_token(TOKEN)
    assert not replace(signed, tag=signed.tag[:count]).is_of(KEY)


@given(text=st.text())
def test_any_text_is_either_read_or_refused(text: str) -> None:
    try:
        signed = read_token(text)
    except BadToken:
        return
    assert not signed.is_of(KEY)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="two-empty-parts"),
        pytest.param(TOKEN.replace(".", ""), id="one-part"),
        pytest.param(TOKEN + ".x", id="three-parts"),
        pytest.param("!" + TOKEN, id="no-base64"),
        pytest.param("ü" + TOKEN, id="no-ascii"),
    ],
)
def test_what_has_another_form_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        read_token(token)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff", id="no-json"),
        pytest.param(b"7", id="no-list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"job": 1}', id="object"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2]), id="too-few"),
        pytest.param(orjson.dumps([7, "run", 1, 2, 3]), id="job-is-a-number"),
        pytest.param(orjson.dumps([JOB, None, 1, 2, 3]), id="run-is-null"),
        pytest.param(orjson.dumps([JOB, "run", "1", 2, 3]), id="step-is-text"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2.0, 3]), id="resumes-is-a-float"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2, True]), id="attempt-is-a-boolean"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2, 3, "7", "tag"]), id="key-is-text"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2, 3, True, "tag"]), id="key-is-a-boolean"),
        pytest.param(orjson.dumps([JOB, "run", 1, 2, 3, 7, 8]), id="tag-is-a-number"),
        pytest.param(b"[" * 100_000, id="nested-too-deep"),
    ],
)
def test_payload_of_another_shape_is_refused(payload: bytes) -> None:
    with pytest.raises(BadToken):
        read_token(with_payload(payload))
