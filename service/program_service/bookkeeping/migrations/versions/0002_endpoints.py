"""Jobs that are endpoints, and notifications of ends.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.migrations.view import create_view, drop_view
from program_service.bookkeeping.tables import TextJson, UtcDateTime

revision = "0002"
down_revision = "0001"

JSON = sa.JSON().with_variant(TextJson(), "mysql")


def upgrade() -> None:
    """Add the columns."""
    name = str(tables().programs.name)
    drop_view(name)
    op.add_column(name, sa.Column("notify_due_at", UtcDateTime))
    op.add_column(name, sa.Column("notify_tries", sa.Integer, nullable=False, server_default="0"))
    op.add_column(f"{name}_jobs", sa.Column("endpoint", JSON))
    op.add_column(f"{name}_jobs", sa.Column("disabled_at", UtcDateTime))
    op.add_column(f"{name}_workers", sa.Column("endpoints", JSON))
    create_view(name)
    is_due = sa.text("notify_due_at IS NOT NULL")
    op.create_index(
        f"{name}_notify", name, ["notify_due_at"], postgresql_where=is_due, sqlite_where=is_due
    )
