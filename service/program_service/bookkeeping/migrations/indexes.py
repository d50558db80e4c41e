"""Indexes: made beside those who write, where others may be using the table meanwhile."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from program_service.bookkeeping.migrations import LOCK_TIMEOUT_S, is_live


def create_index(
    name: str, table: str, columns: Sequence[str], *, where: str | None = None
) -> None:
    """Create an index; on PostgreSQL nobody who writes waits for it.

    A migration that calls this does nothing else: its own transaction is committed before, so that
    it begins anew after an interruption. MariaDB holds up nobody by itself.
    """
    condition = None if where is None else sa.text(where)
    if not is_live() or op.get_context().dialect.name != "postgresql":
        op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)
        return
    with op.get_context().autocommit_block():
        # it waits for every transaction that is open, but nobody waits behind it
        op.execute("SET lock_timeout = 0")
        # what an interrupted one has left is not valid
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(
            name, table, columns, postgresql_where=condition, postgresql_concurrently=True
        )
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
