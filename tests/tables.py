"""Tables: whether those in a database are those that the code describes, and away with them."""

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from program_service.bookkeeping.database import Database


def differences(connection: sa.Connection, database: Database) -> list[Any]:
    """Return what Alembic would change; on MariaDB, whose indexes are others, without those."""
    wanted, is_mysql = database.tables.metadata, connection.dialect.name == "mysql"

    def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
        if kind == "index" and is_mysql:
            return False
        return kind != "table" or name in wanted.tables

    options = {
        "include_name": is_ours,
        "compare_type": True,
        "compare_server_default": True,
        "version_table": database.tables.version_table,
    }
    context = MigrationContext.configure(connection, opts=options)
    found = list(compare_metadata(context, wanted))
    return [each for each in found if not is_mysql or each[0] != "add_index"]


async def drop_all(database: Database) -> None:
    """Drop every table and view of a deployment."""
    name = database.tables.programs.name
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}_status"))
        await connection.run_sync(database.tables.metadata.drop_all)
        await connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}_version"))
