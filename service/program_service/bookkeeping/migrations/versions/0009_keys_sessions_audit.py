"""API keys, sessions of the dashboard, and the audit trail.

The release before reads none of these tables: it knows the keys of its settings alone.

Revision ID: 0009
Revises: 0008
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.migrations.alteration import bytewise_collation
from program_service.bookkeeping.tables import TextJson, UtcDateTime

revision = "0009"
down_revision = "0008"

NAME = sa.String(255)
DIGEST = sa.String(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")


def upgrade() -> None:
    """Create the tables."""
    name = tables().programs.name
    _create(
        f"{name}_keys",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("scopes", NAME, nullable=False),
        sa.Column("label_key", NAME),
        sa.Column("label_value", NAME),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("last_used_at", UtcDateTime),
        sa.Column("revoked_at", UtcDateTime),
    )
    _create(
        f"{name}_sessions",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("key_digest", DIGEST, nullable=False),
        sa.Column("key_name", NAME, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
    )
    op.create_index(f"{name}_sessions_key", f"{name}_sessions", ["key_digest"])
    _create(
        f"{name}_audit",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("client", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("run_id", NAME),
        sa.Column("target", NAME),
        sa.Column("reason", TEXT),
        sa.Column("detail", sa.JSON().with_variant(TextJson(), "mysql")),
    )
    for column in ("run_id", "actor", "action"):
        op.create_index(f"{name}_audit_{column}", f"{name}_audit", [column, "id"])


def _create(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        *columns,
        mysql_charset="utf8mb4",
        mysql_collate=bytewise_collation(op.get_bind()),
    )
