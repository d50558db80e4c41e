"""Migrations: bring the tables of a deployment up to date, whatever their names.

Alembic runs the scripts of `versions/`; each takes the table name from `names()`.
"""

from pathlib import Path
from typing import cast

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotAdoptable
from program_service.bookkeeping.tables import Tables

LOCKS = {
    "postgresql": sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))"),
    # DDL commits in MariaDB, so it is the session's, which must give it back
    "mysql": sa.text("SELECT GET_LOCK(SHA1(:key), 60)"),
}
UNLOCK = sa.text("DO RELEASE_LOCK(SHA1(:key))")


async def migrate(database: Database) -> None:
    """Bring the tables up to date; processes that start together do it one after the other."""
    async with database.engine.begin() as connection:
        await connection.run_sync(upgrade, database.tables)


async def is_migrated(database: Database) -> bool:
    """Say whether the tables are those that this version was written for, or newer."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(_is_current, database.tables)


def tables() -> Tables:
    """Return the tables that the running migration is for."""
    return cast("Tables", context.config.attributes["tables"])


def is_adopting() -> bool:
    """Say whether the running migration is to adopt a table of the Node library."""
    return bool(context.config.attributes["adopts"])


def _config(tables: Tables, connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes.update(tables=tables, connection=connection)
    return config


def upgrade(connection: sa.Connection, tables: Tables, *, adopts: bool = False) -> None:
    """Bring the tables up to date, in the caller's transaction.

    Raises:
        NotAdoptable: a table of the program table's name is there, and it is not ours.
    """
    if not adopts:
        _refuse_strangers(connection, tables)
    key, lock = f"{tables.programs.name}:migrate", LOCKS.get(connection.dialect.name)
    if lock is not None:
        connection.execute(lock, {"key": key})
    try:
        config = _config(tables, connection)
        config.attributes["adopts"] = adopts
        command.upgrade(config, "head")
    finally:
        if connection.dialect.name == "mysql":
            connection.execute(UNLOCK, {"key": key})


def _refuse_strangers(connection: sa.Connection, tables: Tables) -> None:
    inspector, name = sa.inspect(connection), tables.programs.name
    if inspector.has_table(name) and not inspector.has_table(tables.version_table):
        msg = (
            f"There is a table {name!r} that is not Program Executor's. Set TABLE_NAME to another"
            f" name; or, if it is the Node library's, stop its workers and adopt it:"
            f" `program-executor adopt --table {name}`."
        )
        raise NotAdoptable(msg)


def _is_current(connection: sa.Connection, tables: Tables) -> bool:
    script = ScriptDirectory.from_config(_config(tables, connection))
    options = {"version_table": tables.version_table}
    current = MigrationContext.configure(connection, opts=options).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    # tables of a newer version are good, too: a rolling upgrade migrates first
    return set(current) == set(script.get_heads()) or bool(set(current) - known)
