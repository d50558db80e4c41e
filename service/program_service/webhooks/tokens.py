"""Tokens: what lets an endpoint answer later, without an API key, for one try of one step.

A token is `<payload>.<tag>`, both base64url. The payload is a JSON list: the job, the ticket, the
number of a token key of the deployment, and the tag that this key made of job and ticket. The
service verifies that tag alone. The one at the end is by the job's own key: the release before
reads the job and the ticket, and verifies this tag; tokens that it made have no other.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

import orjson

from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.token_keys import TokenKey

TAG_BYTES = 16

MAX_TOKEN = 8_000
"""Characters. The longest token that is made has half of them: names of 255 control characters."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A token that was read and not verified yet."""

    ticket: Ticket
    job: str
    payload: bytes
    """What the tag is of."""
    tag: bytes
    key_id: int | None = None
    """The token key that made the tag; None for the job's own key."""

    def is_of(self, secret: str) -> bool:
        """Say whether the key with this secret made the tag."""
        return hmac.compare_digest(self.tag, _tag(secret, self.payload))


class BadToken(ValueError):
    """A token is none of ours."""


def new_token_key() -> str:
    """Make a secret that tokens are signed with."""
    return secrets.token_hex(32)


def write_token(ticket: Ticket, job: str, *, token_key: str, by: TokenKey | None = None) -> str:
    """Make a token: `token_key` is the job's own key, `by` the newest of the deployment."""
    fields = [job, ticket.run_id, ticket.step, ticket.resumes, ticket.attempt]
    if by is not None:
        fields += [by.id, _text(_tag(by.secret, orjson.dumps(fields)))]
    payload = orjson.dumps(fields)
    return f"{_text(payload)}.{_text(_tag(token_key, payload))}"


def read_token(token: str) -> Signed:
    """Read a token; whether it is genuine, `Signed.is_of` says.

    Raises:
        BadToken: it has another form.
    """
    if len(token) > MAX_TOKEN:
        raise BadToken
    try:
        payload, tag = map(_bytes, token.split("."))
        job, run_id, *numbers = fields = orjson.loads(payload)
        step, resumes, attempt, *newer = numbers
        key_id, inner, *_ = newer if len(newer) > 1 else (None, "")
        inner_tag = _bytes(inner)
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise BadToken from error
    # PostgreSQL cannot even look for NUL
    is_one = all(isinstance(text, str) and "\0" not in text for text in (job, run_id)) and all(
        type(number) is int for number in (step, resumes, attempt)
    )
    if not is_one or type(key_id) not in {int, type(None)}:
        raise BadToken
    ticket = Ticket(run_id, step, resumes, attempt)
    if key_id is None:
        return Signed(ticket, job, payload, tag)
    return Signed(ticket, job, orjson.dumps(fields[:5]), inner_tag, key_id)


def _tag(token_key: str, payload: bytes) -> bytes:
    return hmac.new(bytes.fromhex(token_key), payload, hashlib.sha256).digest()[:TAG_BYTES]


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
