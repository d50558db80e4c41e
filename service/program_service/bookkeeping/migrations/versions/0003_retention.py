"""Indexes by which programs that ended long ago are found, and their idempotency keys.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create them; MariaDB's indexes on due and on errored rows begin with the end already."""
    name = str(tables().programs.name)
    op.create_index(f"{name}_idempotency_run_id", f"{name}_idempotency", ["run_id"])
    if op.get_context().dialect.name == "mysql":
        return
    for suffix, column in (("old_finished", "finished_at"), ("old_errored", "errored_at")):
        may_go = sa.text(f"{column} IS NOT NULL AND notify_due_at IS NULL")
        op.create_index(
            f"{name}_{suffix}", name, [column], postgresql_where=may_go, sqlite_where=may_go
        )


def downgrade() -> None:
    """Drop them."""
    name = str(tables().programs.name)
    if op.get_context().dialect.name != "mysql":
        op.drop_index(f"{name}_old_errored", name)
        op.drop_index(f"{name}_old_finished", name)
    op.drop_index(f"{name}_idempotency_run_id", f"{name}_idempotency")
