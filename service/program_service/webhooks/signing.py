"""Signing: Standard Webhooks 1.0.0, symmetric (https://www.standardwebhooks.com).

A secret is `whsec_` and the base64 of 24 to 64 random bytes. What is signed is
`<webhook-id>.<webhook-timestamp>.<body>`, with HMAC-SHA256.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def new_secret() -> str:
    """Make a secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def require_secret(secret: str) -> str:
    """Return a secret that somebody else made, if it is one.

    Raises:
        ValueError: it is none; the message says what would be.
    """
    try:
        count = len(_key(secret))
    except (ValueError, binascii.Error):
        count = 0
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= count <= MOST_BYTES:
        msg = f"a secret is {PREFIX} and the base64 of {LEAST_BYTES} to {MOST_BYTES} random bytes"
        raise ValueError(msg)
    return secret


def signature_headers(
    keys: Sequence[str], *, message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the three headers of a message, signed with each secret that is valid now.

    `timestamp` is in seconds since 1970. During a rotation the receiver may know either secret.
    """
    signatures = " ".join(_signature(key, message_id, timestamp, body) for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures,
    }


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
