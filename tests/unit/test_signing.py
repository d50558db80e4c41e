"""Signing: what we sign, the library of Standard Webhooks verifies."""

import base64
import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from program_service.webhooks.signing import (
    LEAST_BYTES,
    MOST_BYTES,
    PREFIX,
    new_secret,
    require_secret,
    signature_headers,
)

BODY = b'{"type": "job.execute"}'


def of_bytes(count: int) -> str:
    """Make a secret of so many bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(count)).decode()


def signed(*keys: str, body: bytes = BODY, age_s: int = 0) -> dict[str, str]:
    """Sign a message that was sent so long ago."""
    timestamp = int(time.time()) - age_s
    return signature_headers(keys, message_id="run-1", timestamp=timestamp, body=body)


def is_verified(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    """Ask the library of the receiver."""
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def test_signature_is_that_of_a_fixed_example() -> None:
    """Computed with openssl: printf '%s' ID.TIMESTAMP.BODY | openssl dgst -sha256 -mac HMAC."""
    headers = signature_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1_614_265_330,
        body=b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(text=st.text(), count=st.integers(LEAST_BYTES, MOST_BYTES))
def test_any_body_is_verified_with_a_secret_of_any_length(text: str, count: int) -> None:
    secret = of_bytes(count)
    body = text.encode("utf-8", "replace")
    assert is_verified(secret, body, signed(secret, body=body))


def test_during_a_rotation_either_secret_verifies_and_no_other() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = signed(new, old)
    assert headers["webhook-signature"].count("v1,") == 2
    assert is_verified(old, BODY, headers)
    assert is_verified(new, BODY, headers)
    assert not is_verified(other, BODY, headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_message_without_one_of_the_headers_is_not_verified(name: str) -> None:
    secret = new_secret()
    headers = signed(secret)
    del headers[name]
    assert not is_verified(secret, BODY, headers)


def test_what_was_changed_on_the_way_is_not_verified() -> None:
    secret = new_secret()
    headers = signed(secret)
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert not is_verified(secret, BODY + b" ", headers)
    assert not is_verified(secret, BODY, headers | {"webhook-id": "run-2"})
    assert not is_verified(secret, BODY, headers | {"webhook-timestamp": later})


def test_message_that_is_replayed_an_hour_later_is_not_verified() -> None:
    secret = new_secret()
    assert not is_verified(secret, BODY, signed(secret, age_s=3_600))


def test_new_secrets_differ_and_are_accepted() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(require_secret(secret) == secret for secret in made)


@pytest.mark.parametrize("count", [LEAST_BYTES, 32, MOST_BYTES])
def test_secret_of_a_length_that_the_standard_allows_is_taken(count: int) -> None:
    secret = of_bytes(count)
    assert require_secret(secret) == secret


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("", id="empty"),
        pytest.param(PREFIX, id="prefix-alone"),
        pytest.param(of_bytes(32).removeprefix(PREFIX), id="no-prefix"),
        pytest.param(of_bytes(LEAST_BYTES - 1), id="too-short"),
        pytest.param(of_bytes(MOST_BYTES + 1), id="too-long"),
        pytest.param(of_bytes(32).rstrip("="), id="no-padding"),
        pytest.param(PREFIX + "!" * 44, id="no-base64"),
        pytest.param(PREFIX + "ü" * 44, id="no-ascii"),
        pytest.param(of_bytes(32) + "\n", id="line-end"),
        pytest.param(of_bytes(32).upper(), id="upper-case-prefix"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="a secret is whsec_ and the base64 of 24 to 64") as caught:
        require_secret(secret)
    key = secret.removeprefix(PREFIX).strip()
    assert not key or key not in str(caught.value)
