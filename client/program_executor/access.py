"""Access: what both clients ask of keys, sessions and the audit trail."""

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar, Unpack
from urllib.parse import quote

from program_executor.access_shapes import (
    ApiKey,
    ApiKeyPage,
    AuditEntry,
    AuditFilters,
    AuditPage,
    NewKey,
    Scope,
    Session,
    SessionPage,
)
from program_executor.calls import Call, given
from program_executor.paging import walk, walk_later

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


def session_page(cursor: str | None) -> Call[SessionPage]:
    """List sessions, from this cursor on."""
    return Call("GET", "/sessions", params=given({"cursor": cursor}))


def end_session(session_id: str) -> Call[None]:
    """End a session; a repeated call would not find it any more."""
    path = f"/sessions/{quote(session_id, safe='')}"
    return Call("DELETE", path, is_safe_to_repeat=False)


def audit_page(filters: AuditFilters, cursor: str | None) -> Call[AuditPage]:
    """List the audit trail, from this cursor on."""
    return Call("GET", "/audit", params=given({**filters, "cursor": cursor}))


class Sends(Protocol):
    """A client for threads."""

    def send(self, call: Call[T]) -> T:
        """Send a call and return what is answered."""


class SendsLater(Protocol):
    """A client for event loops."""

    async def send(self, call: Call[T]) -> T:
        """Send a call and return what is answered."""


class Access:
    """Keys, sessions and the audit trail, for `Client`."""

    def make_key(
        self: Sends, name: str, scopes: Sequence[Scope], **options: Unpack[NewKey]
    ) -> ApiKey:
        """Make an API key; its `key` is shown now and never again."""
        return self.send(make_key(name, scopes, options))

    def api_keys(self: Sends) -> Iterator[ApiKey]:
        """Walk through the API keys, page by page."""
        return walk(self.send, key_page, "keys")

    def revoke_key(self: Sends, key_id: str) -> None:
        """Revoke an API key; all processes refuse it after ten seconds at most."""
        self.send(revoke_key(key_id))

    def sessions(self: Sends) -> Iterator[Session]:
        """Walk through the sessions of the dashboard, page by page."""
        return walk(self.send, session_page, "sessions")

    def end_session(self: Sends, session_id: str) -> None:
        """Sign a browser out of the dashboard."""
        self.send(end_session(session_id))

    def audit(self: Sends, **filters: Unpack[AuditFilters]) -> Iterator[AuditEntry]:
        """Walk through what people did, the newest first; `limit` is the size of a page."""
        return walk(self.send, partial(audit_page, filters), "entries")


class AsyncAccess:
    """Keys, sessions and the audit trail, for `AsyncClient`."""

    async def make_key(
        self: SendsLater, name: str, scopes: Sequence[Scope], **options: Unpack[NewKey]
    ) -> ApiKey:
        """Make an API key; its `key` is shown now and never again."""
        return await self.send(make_key(name, scopes, options))

    def api_keys(self: SendsLater) -> AsyncIterator[ApiKey]:
        """Walk through the API keys, page by page."""
        return walk_later(self.send, key_page, "keys")

    async def revoke_key(self: SendsLater, key_id: str) -> None:
        """Revoke an API key; all processes refuse it after ten seconds at most."""
        await self.send(revoke_key(key_id))

    def sessions(self: SendsLater) -> AsyncIterator[Session]:
        """Walk through the sessions of the dashboard, page by page."""
        return walk_later(self.send, session_page, "sessions")

    async def end_session(self: SendsLater, session_id: str) -> None:
        """Sign a browser out of the dashboard."""
        await self.send(end_session(session_id))

    def audit(self: SendsLater, **filters: Unpack[AuditFilters]) -> AsyncIterator[AuditEntry]:
        """Walk through what people did, the newest first; `limit` is the size of a page."""
        return walk_later(self.send, partial(audit_page, filters), "entries")
