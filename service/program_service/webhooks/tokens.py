"""Tokens: what lets an endpoint answer later, without an API key, for one try of one step.

A token is `<payload>.<tag>`, both base64url. The payload names the job besides the step, so that
the service knows whose key made the tag; a job's token key never changes, while its secrets do.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

import orjson

from program_service.bookkeeping.ledger.callbacks import Ticket

TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Signed:
    """A token that was read and not verified yet."""

    ticket: Ticket
    job: str
    payload: bytes
    tag: bytes

    def is_of(self, token_key: str) -> bool:
        """Say whether the job's key made it."""
        return hmac.compare_digest(self.tag, _tag(token_key, self.payload))


class BadToken(ValueError):
    """A token is none of ours."""


def new_token_key() -> str:
    """Make the key of a job's tokens."""
    return secrets.token_hex(32)


def write_token(ticket: Ticket, job: str, *, token_key: str) -> str:
    """Make a token."""
    fields = [job, ticket.run_id, ticket.step, ticket.resumes, ticket.attempt]
    payload = orjson.dumps(fields)
    return f"{_text(payload)}.{_text(_tag(token_key, payload))}"


def read_token(token: str) -> Signed:
    """Read a token; whether it is genuine, `Signed.is_of` says.

    Raises:
        BadToken: it has another form.
    """
    try:
        payload, tag = map(_bytes, token.split("."))
        job, run_id, *numbers = orjson.loads(payload)
        step, resumes, attempt, *_newer = numbers
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadToken from error
    # PostgreSQL cannot even look for NUL
    is_one = all(isinstance(text, str) and "\0" not in text for text in (job, run_id)) and all(
        type(number) is int for number in (step, resumes, attempt)
    )
    if not is_one:
        raise BadToken
    return Signed(Ticket(run_id, step, resumes, attempt), job, payload, tag)


def _tag(token_key: str, payload: bytes) -> bytes:
    return hmac.new(bytes.fromhex(token_key), payload, hashlib.sha256).digest()[:TAG_BYTES]


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
