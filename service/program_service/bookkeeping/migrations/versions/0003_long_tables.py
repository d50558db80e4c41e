"""Indexes for long tables: what to wake for, what ended long ago, what had an error.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.migrations.indexes import create_index

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
    create_index(f"{name}_idempotency_run_id", f"{name}_idempotency", ["run_id"])
    if op.get_context().dialect.name == "mysql":
        due = "finished_at, errored_at, woken_at, due_at, queue"
        op.execute(f"ALTER TABLE {name} DROP INDEX {name}_due, ADD INDEX {name}_due ({due})")
        return
    for suffix, (columns, condition) in PARTIAL.items():
        create_index(f"{name}_{suffix}", name, columns, where=condition)
