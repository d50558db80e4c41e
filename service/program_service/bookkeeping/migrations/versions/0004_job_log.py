"""What jobs log, kept with their attempts.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.tables import TextJson

revision = "0004"
down_revision = "0003"

JSON = sa.JSON().with_variant(TextJson(), "mysql")


def upgrade() -> None:
    """Add the column."""
    op.add_column(f"{tables().programs.name}_attempts", sa.Column("log", JSON))
