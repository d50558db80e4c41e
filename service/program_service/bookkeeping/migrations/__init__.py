"""Migrations: bring the tables of a deployment up to date, whatever their names.

Alembic runs the scripts of `versions/`; each takes the table name from `tables()`. The code of the
version before goes on working with what they leave (docs/adr/0020).
"""

import asyncio
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError, NotAdoptable, RowLocked
from program_service.bookkeeping.tables import Tables
from program_service.bookkeeping.trouble import in_our_words
from program_service.cancellation import TaskGroup
from program_service.logs import log
from program_service.telemetry import Event

LOCK_TIMEOUT_S = 2
"""How long a migration waits for a lock: whoever wants the table meanwhile waits behind it."""

AGAIN_S = 0.5
LOG_EVERY = 20
"""Tries, while another process migrates."""

KEEP_EVERY_S = 1.0
"""How often the lock is looked after; the database is asked less often."""

GIVE_UP_AFTER_S = 600.0
"""When a lock that somebody still holds is an error."""


async def migrate(database: Database) -> None:
    """Bring the tables up to date; processes that start together do it one after the other.

    What is asked takes as long as it takes, but waits for a lock only for a moment, and then begins
    again a little later.

    Raises:
        NotAdoptable: a table of the program table's name is there, and it is not ours.
        DatabaseUnavailable: the database is not to be had, a privilege is missing, or somebody did
            not let go of a table.
        BatchRefused: the database refuses a change.
    """
    gives_up_at = time.monotonic() + GIVE_UP_AFTER_S
    patient = database.beside(statement_timeout_s=None)
    try:
        for tries in count(1):
            if await _take_turn(patient, gives_up_at=gives_up_at):
                return
            if tries % LOG_EVERY == 0:
                log.warning(Event.MIGRATION_WAITS, error_message="another process migrates")
            await asyncio.sleep(AGAIN_S)
    finally:
        await patient.close()


async def _take_turn(database: Database, *, gives_up_at: float) -> bool:
    """Migrate, unless somebody else does or a lock is held; say whether it is done."""
    if await is_migrated(database):
        return True  # also if a lost process still holds the lock
    # trying, for whoever waits in a statement holds up an index that is made beside the writers
    async with database.alone("migrate") as is_alone:
        if not is_alone:
            return False
        try:
            await _upgrade_in_turn(database)
        except RowLocked as error:
            if time.monotonic() > gives_up_at:
                raise
            log.warning(Event.MIGRATION_WAITS, error_message=str(error))
            return False
    return True


async def _upgrade_in_turn(database: Database) -> None:
    """Migrate, and show the database meanwhile that this process still works.

    Raises:
        BookkeepingError: the migration failed.
    """
    failure: Exception | None = None
    async with TaskGroup() as tasks:
        keeping = tasks.create_task(_keep_turn(database))
        try:
            with in_our_words():
                async with database.engine.connect() as connection:
                    await connection.run_sync(_upgrade_alone, database.tables)
        except Exception as error:  # noqa: BLE001 - raised below, and not as a group
            failure = error
        finally:
            keeping.cancel()
    if failure is not None:
        raise failure


async def _keep_turn(database: Database) -> None:
    """Keep the advisory lock; if it is lost, locks of tables keep two migrations apart."""
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        with suppress(BookkeepingError):
            await database.stay_alone()


def _upgrade_alone(connection: sa.Connection, tables: Tables) -> None:
    """Bring new tables up at once, or not at all; those in use by one migration after the other."""
    is_in_use = sa.inspect(connection).has_table(tables.version_table)
    is_current = is_in_use and _is_current(connection, tables)
    connection.rollback()  # the look began a transaction
    if is_current:
        return
    if not is_in_use or connection.dialect.name == "sqlite":  # which has one writer
        with connection.begin():
            upgrade(connection, tables)
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        connection.commit()
    upgrade(connection, tables)


async def is_migrated(database: Database) -> bool:
    """Say whether the tables are those that this version was written for, or newer.

    Raises:
        DatabaseUnavailable: the database does not answer, or does not let us look.
    """
    with in_our_words():
        async with database.engine.connect() as connection:
            return await connection.run_sync(_is_current, database.tables)


def tables() -> Tables:
    """Return the tables that the running migration is for."""
    return cast("Tables", context.config.attributes["tables"])


def is_adopting() -> bool:
    """Say whether the running migration is to adopt a table of the Node library."""
    return bool(context.config.attributes["adopts"])


def is_live() -> bool:
    """Say whether others may be using the tables while the running migration changes them."""
    return bool(context.config.attributes["is_live"])


def _config(tables: Tables, connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes.update(tables=tables, connection=connection)
    return config


def upgrade(
    connection: sa.Connection, tables: Tables, *, adopts: bool = False, to: str = "head"
) -> None:
    """Bring the tables up to date, in the caller's transaction or else by one for each migration.

    Raises:
        NotAdoptable: a table of the program table's name is there, and it is not ours.
    """
    is_live = not connection.in_transaction()
    if not adopts:
        _refuse_strangers(connection, tables)
    if is_live:
        connection.rollback()  # the look began a transaction
    config = _config(tables, connection)
    config.attributes.update(adopts=adopts, is_live=is_live)
    command.upgrade(config, to)


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
    # those of a newer version are good, too: who upgrades migrates first, who goes back finds them
    return set(current) == set(script.get_heads()) or bool(set(current) - known)
