"""Counts for each minute.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.migrations.alteration import bytewise_collation
from program_service.bookkeeping.tables import UtcDateTime

revision = "0005"
down_revision = "0004"

NAME = sa.String(255)


def upgrade() -> None:
    """Create their table."""
    name = f"{tables().programs.name}_rollups"
    op.create_table(
        name,
        sa.Column("minute", UtcDateTime, primary_key=True),
        sa.Column("job", NAME, primary_key=True),
        sa.Column("outcome", sa.String(32), primary_key=True),
        sa.Column("worker", NAME, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        mysql_charset="utf8mb4",
        mysql_collate=bytewise_collation(op.get_bind()),
    )
    if op.get_context().dialect.name == "postgresql":
        # the rows of this minute change with every batch: room for the new versions on their page
        op.execute(f"ALTER TABLE {name} SET (fillfactor = 50)")
