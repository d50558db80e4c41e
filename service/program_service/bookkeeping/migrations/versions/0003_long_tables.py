"""Indexes for long tables: what to wake for, what ended long ago, what had an error.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables

revision = "0003"
down_revision = "0002"

OPEN = "finished_at IS NULL AND errored_at IS NULL"
PARTIAL = {
    "unwoken": (["due_at"], f"{OPEN} AND woken_at IS NULL"),
    "woken": (["queue", "woken_at"], f"{OPEN} AND woken_at IS NOT NULL"),
    "old_finished": (["finished_at"], "finished_at IS NOT NULL AND notify_due_at IS NULL"),
    "old_errored": (["errored_at"], "errored_at IS NOT NULL AND notify_due_at IS NULL"),
    "troubled": (["id"], "error_message IS NOT NULL OR step_retry_count > 0"),
}


def upgrade() -> None:
    """Create them."""
    name = str(tables().programs.name)
    op.create_index(f"{name}_idempotency_run_id", f"{name}_idempotency", ["run_id"])
    if op.get_context().dialect.name == "mysql":
        _index_due(name, "finished_at, errored_at, woken_at, due_at, queue")
        return
    for suffix, (columns, condition) in PARTIAL.items():
        where = sa.text(condition)
        op.create_index(
            f"{name}_{suffix}", name, columns, postgresql_where=where, sqlite_where=where
        )


def downgrade() -> None:
    """Drop them."""
    name = str(tables().programs.name)
    if op.get_context().dialect.name == "mysql":
        _index_due(name, "finished_at, errored_at, due_at")
    else:
        for suffix in PARTIAL:
            op.drop_index(f"{name}_{suffix}", name)
    op.drop_index(f"{name}_idempotency_run_id", f"{name}_idempotency")


def _index_due(name: str, columns: str) -> None:
    """Index due rows by other columns; MariaDB's index begins with the moment of the end."""
    op.execute(f"ALTER TABLE {name} DROP INDEX {name}_due, ADD INDEX {name}_due ({columns})")
