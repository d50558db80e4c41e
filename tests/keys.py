"""Keys: API keys of tests, and how the service is told of them."""

from program_service.api.auth import digest_of

NAMES = {"submit": "submitter", "read": "reader", "operate": "operator", "admin": "admin"}

KEYS = {scope: f"pe_{name}_{'x' * 32}" for scope, name in NAMES.items()}
"""{scope: a key}; the names of the keys tell what they are for."""


def entry_of(*scopes: str) -> str:
    """Return the setting of one key, that of the first of these scopes, which has them all."""
    first = scopes[0]
    return f"{NAMES[first]}={'+'.join(scopes)}:{digest_of(KEYS[first])}"
