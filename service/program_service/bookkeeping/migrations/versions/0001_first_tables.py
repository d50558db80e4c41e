"""The first tables.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

from program_service.bookkeeping.migrations import is_adopting, tables
from program_service.bookkeeping.migrations.alteration import alter_statements, bytewise_collation
from program_service.bookkeeping.migrations.view import create_view
from program_service.bookkeeping.tables import TextJson, UtcDateTime

revision = "0001"
down_revision = None

NAME = sa.String(255)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(TextJson(), "mysql")
LABELS = JSON.with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the program table and those beside it."""
    name = str(tables().programs.name)
    _create_programs(name)
    _create_indexes(name)
    _create_attempts(name)
    _create_registry(name)
    create_view(name)


def _create_table(name: str, *columns: sa.Column[Any]) -> None:
    """Create a table whose texts compare byte by byte, as those of the other databases do."""
    collation = bytewise_collation(op.get_bind())
    op.create_table(name, *columns, mysql_charset="utf8mb4", mysql_collate=collation)


def _program_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", IDENTITY, primary_key=True),
        sa.Column("run_id", NAME, nullable=False, unique=True),
        sa.Column("jobs", JSON, nullable=False),
        sa.Column("program_data", JSON, nullable=False),
        sa.Column("job_data", JSON, nullable=False),
        sa.Column("step", sa.Integer, nullable=False, server_default="0"),
        sa.Column("step_retry_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("errored_at", UtcDateTime),
        sa.Column("error_message", TEXT),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("due_at", UtcDateTime),
        sa.Column("woken_at", UtcDateTime),
        sa.Column("claimed_by", NAME),
        sa.Column("lease", sa.String(32)),
        sa.Column("lease_losses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("resumes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("awaiting", sa.Integer),
        sa.Column("cancelled_at", UtcDateTime),
        sa.Column("job", NAME, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("labels", LABELS, nullable=False),
        sa.Column("submitted_by", NAME),
        sa.Column("parent_run_id", NAME),
        sa.Column("traceparent", sa.String(64)),
        sa.Column("notify", TEXT),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    ]


def _create_programs(name: str) -> None:
    if is_adopting():
        for statement in alter_statements(op.get_bind(), name, _program_columns()):
            op.execute(statement)
    else:
        _create_table(name, *_program_columns())
    if op.get_context().dialect.name == "postgresql":
        # rows change several times in their life: room on the page, and an early vacuum
        op.execute(
            f"ALTER TABLE {name} SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_analyze_scale_factor = 0.02)"
        )


def _create_indexes(name: str) -> None:
    if op.get_context().dialect.name == "mysql":
        op.create_index(f"{name}_due", name, ["finished_at", "errored_at", "due_at"])
        op.create_index(f"{name}_errored", name, ["errored_at"])
        op.create_index(f"{name}_created", name, ["created_at"])
        return
    is_open = sa.text("finished_at IS NULL AND errored_at IS NULL")
    op.create_index(f"{name}_due", name, ["due_at"], postgresql_where=is_open, sqlite_where=is_open)
    has_errored = sa.text("errored_at IS NOT NULL")
    op.create_index(
        f"{name}_errored", name, ["id"], postgresql_where=has_errored, sqlite_where=has_errored
    )
    op.create_index(f"{name}_created", name, ["created_at"], postgresql_using="brin")
    op.create_index(
        f"{name}_labels",
        name,
        ["labels"],
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
        postgresql_where=sa.text("labels <> '{}'::jsonb"),
        sqlite_where=sa.text("labels <> '{}'"),
    )


def _create_attempts(name: str) -> None:
    _create_table(
        f"{name}_attempts",
        sa.Column("run_id", NAME, primary_key=True),
        sa.Column("lease", sa.String(32), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("job", NAME, nullable=False),
        sa.Column("worker", NAME),
        sa.Column("started_at", UtcDateTime),
        sa.Column("finished_at", UtcDateTime, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("error_type", NAME),
        sa.Column("error_code", NAME),
        sa.Column("error_message", TEXT),
        sa.Column("traceback", TEXT),
    )
    _create_table(
        f"{name}_idempotency",
        sa.Column("owner", NAME, primary_key=True),
        sa.Column("key", NAME, primary_key=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("run_id", NAME, nullable=False),
    )


def _create_registry(name: str) -> None:
    _create_table(
        f"{name}_jobs",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("timeout_s", sa.Double),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
    )
    _create_table(
        f"{name}_workers",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("host", NAME, nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("queues", JSON, nullable=False),
        sa.Column("jobs", JSON, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("busy", sa.Integer, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
        sa.Column("newest_wakeups", JSON, nullable=False),
    )
