"""Access: what both clients ask of keys, for callers with the scope `admin`."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol, TypeVar, Unpack
from urllib.parse import quote

from program_executor.access_shapes import ApiKey, ApiKeyPage, NewKey, Scope
from program_executor.calls import Call, given

T = TypeVar("T")


def make_key(name: str, scopes: Sequence[Scope], options: NewKey) -> Call[ApiKey]:
    """Make a key; a repeated call would make a second one."""
    body = {"name": name, "scopes": list(scopes)} | given(options)
    return Call("POST", "/keys", json=body, is_safe_to_repeat=False)


def key_page(cursor: str | None) -> Call[ApiKeyPage]:
    """List keys, from this cursor on."""
    return Call("GET", "/keys", params=given({"cursor": cursor}))


def revoke_key(key_id: str) -> Call[None]:
    """Revoke a key; a key that is revoked already stays so."""
    return Call("DELETE", f"/keys/{quote(key_id, safe='')}")


class Sends(Protocol):
    """A client for threads."""

    def send(self, call: Call[T]) -> T:
        """Send a call and return what is answered."""


class SendsLater(Protocol):
    """A client for event loops."""

    async def send(self, call: Call[T]) -> T:
        """Send a call and return what is answered."""


class Access:
    """Keys, for `Client`."""

    def make_key(
        self: Sends, name: str, scopes: Sequence[Scope], **options: Unpack[NewKey]
    ) -> ApiKey:
        """Make an API key; its `key` is shown now and never again."""
        return self.send(make_key(name, scopes, options))

    def api_keys(self: Sends) -> Iterator[ApiKey]:
        """Walk through the API keys, page by page."""
        cursor = None
        while True:
            page = self.send(key_page(cursor))
            yield from page["keys"]
            if (cursor := page["next_cursor"]) is None:
                return

    def revoke_key(self: Sends, key_id: str) -> None:
        """Revoke an API key; all processes refuse it after ten seconds at most."""
        self.send(revoke_key(key_id))


class AsyncAccess:
    """Keys, for `AsyncClient`."""

    async def make_key(
        self: SendsLater, name: str, scopes: Sequence[Scope], **options: Unpack[NewKey]
    ) -> ApiKey:
        """Make an API key; its `key` is shown now and never again."""
        return await self.send(make_key(name, scopes, options))

    async def api_keys(self: SendsLater) -> AsyncIterator[ApiKey]:
        """Walk through the API keys, page by page."""
        cursor = None
        while True:
            page = await self.send(key_page(cursor))
            for key in page["keys"]:
                yield key
            if (cursor := page["next_cursor"]) is None:
                return

    async def revoke_key(self: SendsLater, key_id: str) -> None:
        """Revoke an API key; all processes refuse it after ten seconds at most."""
        await self.send(revoke_key(key_id))
