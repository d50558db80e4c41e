"""A row of the workers belongs to a process: two of one name do not hide each other.

The column `name` is the process from now on. A worker of the release before writes its name there,
and nothing into the new columns.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns."""
    name = f"{tables().programs.name}_workers"
    op.add_column(name, sa.Column("worker", sa.String(255)))
    op.add_column(name, sa.Column("pid", sa.Integer))
