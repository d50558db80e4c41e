"""Access rows: who may come, who is signed in, and who did what."""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from program_service.bookkeeping.columns import JSON, NAME, TEXT, UtcDateTime

_Digest = sa.String(64)


class ApiKeyRow(SQLModel, table=True):
    """An API key, known by its SHA-256; with a label it sees programs that have it, and no others.

    `scopes` are joined with `+`, as in the setting API_KEYS.
    """

    __tablename__: ClassVar[Any] = "keys"

    digest: str = Field(sa_column=sa.Column(_Digest, primary_key=True))
    name: str = Field(sa_type=NAME)
    scopes: str = Field(sa_type=NAME)
    label_key: str | None = Field(sa_type=NAME)
    label_value: str | None = Field(sa_type=NAME)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(sa_type=UtcDateTime)


class SessionRow(SQLModel, table=True):
    """A browser that is signed in to the dashboard with a key; `digest` is of the cookie."""

    __tablename__: ClassVar[Any] = "sessions"

    digest: str = Field(sa_column=sa.Column(_Digest, primary_key=True))
    key_digest: str = Field(sa_type=_Digest)
    key_name: str = Field(sa_type=NAME)
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class AuditRow(SQLModel, table=True):
    """What somebody did, written in the transaction that did it; the ids are in order of time."""

    __tablename__: ClassVar[Any] = "audit"

    id: str = Field(sa_column=sa.Column(sa.String(36), primary_key=True))
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str = Field(sa_type=NAME)
    client: str = Field(sa_type=NAME)
    action: str = Field(sa_type=NAME)
    run_id: str | None = Field(sa_type=NAME)
    target: str | None = Field(sa_type=NAME)
    reason: str | None = Field(sa_type=TEXT)
    detail: dict[str, Any] | None = Field(sa_type=JSON)
