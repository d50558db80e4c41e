"""Migrations of tables in use: they take their time, and nobody waits long for them."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from builders import submitted
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.engines import Limits, make_engine
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.lifecycle import Status
from program_service.bookkeeping.migrations import is_migrated, migrate, upgrade
from program_service.bookkeeping.tables import Tables
from servers import Place, on_postgresql
from tables import differences, drop_all

pytestmark = on_postgresql  # elsewhere an index is made beside the writers by itself, or alone

STATEMENT_S = 0.3
"""How long a statement may last here, unless it migrates."""


@pytest.fixture
async def old(place: Place) -> AsyncIterator[Database]:
    """Return tables in use that lack the indexes for long tables, and what came after them."""
    tables = Tables.named(f"fresh_{uuid.uuid4().hex[:8]}")
    database = Database(make_engine(place.url, Limits(statement_s=STATEMENT_S)), tables)
    patient = database.beside(statement_timeout_s=None)
    await bring_to(patient, "0002")
    yield database
    await drop_all(patient)
    await patient.close()
    await database.close()


async def bring_to(database: Database, revision: str) -> None:
    """Migrate so far and no further."""
    async with database.engine.begin() as connection:
        await connection.run_sync(upgrade, database.tables, to=revision)


@asynccontextmanager
async def transaction(database: Database, statement: str) -> AsyncGenerator[None]:
    """Hold a transaction open that began with this statement; `{t}` is the table."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(sa.text(statement.format(t=database.tables.programs.name)))
        yield
        await connection.rollback()


async def look(database: Database, query: str) -> object:
    """Return one value; `:t` is the beginning of our names."""
    values = {"t": f"%{database.tables.programs.name}%", "s": STATEMENT_S}
    used = {name: value for name, value in values.items() if f":{name}" in query}
    async with database.engine.connect() as connection:
        return await connection.scalar(sa.text(query), used)


WAITS_LONG = """
    SELECT count(*) FROM pg_stat_activity
     WHERE query LIKE 'CREATE INDEX CONCURRENTLY' || :t AND state = 'active'
       AND wait_event_type = 'Lock' AND statement_timestamp() - query_start > :s * interval '3 s'
"""
INVALID = """
    SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
     WHERE relname LIKE :t AND NOT indisvalid
"""


async def is_as_described(database: Database) -> bool:
    """Say whether the tables are as the code describes them, with all indexes valid."""
    async with database.engine.connect() as connection:
        missing = await connection.run_sync(differences, database)
    return missing == [] and await look(database, INVALID) == 0


async def test_index_is_made_beside_those_who_write_for_longer_than_a_statement_may_last(
    old: Database,
) -> None:
    async with transaction(old, "SELECT count(*) FROM {t}"):
        migrating = asyncio.create_task(migrate(old))
        await eventually(lambda: look(old, WAITS_LONG))
        await submitted(old, "run-1")
        assert (await old.read(find, "run-1")).status is Status.PENDING
        assert not migrating.done()
    await migrating
    assert await is_migrated(old)
    assert await is_as_described(old)


async def test_index_whose_making_was_interrupted_is_made_again(old: Database) -> None:
    async with transaction(old, "SELECT count(*) FROM {t}"):
        migrating = asyncio.create_task(migrate(old))
        await eventually(lambda: look(old, WAITS_LONG))
        migrating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await migrating
        await eventually(lambda: look(old, INVALID))
    await migrate(old)
    assert await is_as_described(old)


async def test_lock_that_somebody_holds_is_tried_again_and_holds_nobody_up(old: Database) -> None:
    """Who wants the table behind a waiting ALTER TABLE waits for it; so it gives up soon."""
    patient = old.beside(statement_timeout_s=None)
    await bring_to(patient, "0003")
    async with transaction(patient, "SELECT count(*) FROM {t}_attempts"):
        with capture_logs() as logged:
            migrating = asyncio.create_task(migrate(old))

            async def has_given_up() -> bool:
                return "migration.waits" in {line["event"] for line in logged}

            await eventually(has_given_up)
            assert await look(patient, f"SELECT count(*) FROM {old.tables.attempts.name}") == 0
            assert not migrating.done()
    await migrating
    assert await is_as_described(old)
    await patient.close()


async def test_migrations_that_were_done_before_a_failure_stay_done(old: Database) -> None:
    """Each has its own transaction: the index of a long table is not made twice."""
    name = old.tables.rollups.name
    async with old.engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE TABLE {name} (id INTEGER)"))
    with pytest.raises(BookkeepingError):
        await migrate(old)
    assert await look(old, f"SELECT version_num FROM {old.tables.version_table}") == "0004"
    async with old.engine.begin() as connection:
        await connection.execute(sa.text(f"DROP TABLE {name}"))
    await migrate(old)
    assert await is_as_described(old)
