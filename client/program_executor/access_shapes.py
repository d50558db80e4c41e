"""Access shapes: keys, sessions and the audit trail, as types."""

from datetime import datetime
from typing import Literal, TypedDict

from program_executor.shapes import Json

Scope = Literal["submit", "read", "operate", "admin"]


class NewKey(TypedDict, total=False):
    """What a key may have besides its name and scopes."""

    label: str | None
    expires_at: datetime | str | None


class ApiKey(TypedDict):
    """An API key; `key` itself is in the answer that makes it alone."""

    id: str
    name: str
    scopes: list[str]
    label: str | None
    source: Literal["table", "setting"]
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    key: str | None


class ApiKeyPage(TypedDict):
    """Some keys, and the cursor of the next page."""

    keys: list[ApiKey]
    next_cursor: str | None


class Session(TypedDict):
    """A browser that is signed in to the dashboard."""

    id: str
    key_id: str
    key_name: str
    created_at: str
    last_seen_at: str
    expires_at: str


class SessionPage(TypedDict):
    """Some sessions, and the cursor of the next page."""

    sessions: list[Session]
    next_cursor: str | None


class AuditFilters(TypedDict, total=False):
    """Which entries of the audit trail are listed; what is None does not count."""

    run_id: str | None
    actor: str | None
    action: str | None
    limit: int | None


class AuditEntry(TypedDict):
    """What somebody did."""

    id: str
    at: str
    actor: str
    client: str | None
    action: str
    run_id: str | None
    target: str | None
    reason: str | None
    detail: Json


class AuditPage(TypedDict):
    """Some entries, and the cursor of the next page."""

    entries: list[AuditEntry]
    next_cursor: str | None
