"""Keys of the deployment that callback tokens are signed with.

The first process that needs a key makes it.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import tables
from program_service.bookkeeping.migrations.alteration import bytewise_collation
from program_service.bookkeeping.tables import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        f"{tables().programs.name}_token_keys",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        mysql_charset="utf8mb4",
        mysql_collate=bytewise_collation(op.get_bind()),
    )
