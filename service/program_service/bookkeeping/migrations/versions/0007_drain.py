"""A drain is requested in the worker's row, not by a message alone.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.tables import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    name = f"{tables().programs.name}_workers"
    op.add_column(name, sa.Column("drain_requested_at", UtcDateTime))
