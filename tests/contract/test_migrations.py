"""Migrations: tables come to be under any name, once, whoever starts first."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from builders import claimed, submitted, try_claim
from patience import eventually
from program_service.bookkeeping import advisory, migrations
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.lifecycle import Claimed, Status
from program_service.bookkeeping.migrations import is_migrated, migrate
from program_service.bookkeeping.tables import Tables
from servers import Place, not_on_mariadb, on_postgresql, on_servers
from tables import differences, drop_all

MIGRATE = """
import asyncio, sys
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.migrations import migrate

async def main():
    database = Database.connect(sys.argv[1], table_name=sys.argv[2])
    await migrate(database)
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
async def fresh(place: Place) -> AsyncIterator[Database]:
    """Return a database whose tables have a name that nobody used before."""
    database = Database.connect(place.url, table_name=f"fresh_{uuid.uuid4().hex[:8]}")
    yield database
    await drop_all(database)
    await database.close()


async def _names(database: Database) -> set[str]:
    """Return the names of all tables and views of this deployment."""

    def inspect(connection: sa.Connection) -> set[str]:
        found = sa.inspect(connection)
        return {*found.get_table_names(), *found.get_view_names()}

    prefix = database.tables.programs.name
    async with database.engine.connect() as connection:
        return {name for name in await connection.run_sync(inspect) if name.startswith(prefix)}


async def test_nothing_is_migrated_before_and_all_is_after(fresh: Database) -> None:
    assert not await is_migrated(fresh)
    assert await _names(fresh) == set()
    await migrate(fresh)
    assert await is_migrated(fresh)


async def test_all_names_derive_from_the_tables_name(fresh: Database) -> None:
    await migrate(fresh)
    name = fresh.tables.programs.name
    of_programs = ("_attempts", "_idempotency", "_jobs", "_rollups", "_workers")
    of_access = ("_audit", "_keys", "_sessions", "_token_keys")
    suffixes = ("", *of_programs, *of_access, "_status", "_version")
    assert await _names(fresh) == {f"{name}{suffix}" for suffix in suffixes}


async def test_migrating_twice_changes_nothing(fresh: Database) -> None:
    await migrate(fresh)
    await submitted(fresh, "run-1")
    names = await _names(fresh)
    await migrate(fresh)
    assert await _names(fresh) == names
    assert (await fresh.read(find, "run-1")).status is Status.PENDING


async def test_migrated_tables_are_those_that_the_code_describes(fresh: Database) -> None:
    await migrate(fresh)
    async with fresh.engine.connect() as connection:
        assert await connection.run_sync(differences, fresh) == []


async def test_comparison_would_notice_a_difference(fresh: Database) -> None:
    await migrate(fresh)
    name = fresh.tables.programs.name
    async with fresh.engine.begin() as connection:
        await connection.execute(sa.text(f"ALTER TABLE {name} ADD COLUMN extra INTEGER"))
        await connection.execute(sa.text(f"ALTER TABLE {name}_jobs DROP COLUMN timeout_s"))
        found = await connection.run_sync(differences, fresh)
    assert sorted(difference[0] for difference in found) == ["add_column", "remove_column"]


@not_on_mariadb
async def test_comparison_would_notice_a_missing_index(fresh: Database) -> None:
    await migrate(fresh)
    async with fresh.engine.begin() as connection:
        await connection.execute(sa.text(f"DROP INDEX {fresh.tables.programs.name}_due"))
        found = await connection.run_sync(differences, fresh)
    assert [difference[0] for difference in found] == ["add_index"]


async def test_tables_of_a_newer_version_are_good_for_this_one(fresh: Database) -> None:
    """An upgrade migrates first; and who goes back leaves them as they are, and starts."""
    await migrate(fresh)
    async with fresh.engine.begin() as connection:
        newer = sa.text(f"UPDATE {fresh.tables.version_table} SET version_num = '9999'")
        await connection.execute(newer)
    assert await is_migrated(fresh)
    await migrate(fresh)
    async with fresh.engine.connect() as connection:
        left = sa.text(f"SELECT version_num FROM {fresh.tables.version_table}")
        assert await connection.scalar(left) == "9999"


async def test_two_deployments_share_a_database_and_nothing_else(
    fresh: Database, database: Database
) -> None:
    await migrate(fresh)
    await submitted(database, "run-1", program_data={"of": "theirs"})
    mine = await claimed(fresh, "run-1", program_data={"of": "mine"})
    theirs = await try_claim(database, "run-1")
    assert isinstance(theirs, Claimed)
    assert (mine.program_data, theirs.program_data) == ({"of": "mine"}, {"of": "theirs"})
    for each in (fresh, database):
        assert len((await each.read(list_programs, Filter(), limit=10)).programs) == 1


async def test_tables_of_the_user_are_left_alone(fresh: Database) -> None:
    """The tables may live in a user's own database."""
    name = f"{fresh.tables.programs.name}_of_the_user"
    async with fresh.engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE TABLE {name} (id INTEGER)"))
        await connection.execute(sa.text(f"INSERT INTO {name} VALUES (7)"))
    await migrate(fresh)
    async with fresh.engine.begin() as connection:
        assert await connection.scalar(sa.text(f"SELECT id FROM {name}")) == 7
        await connection.execute(sa.text(f"DROP TABLE {name}"))


@not_on_mariadb  # where every CREATE TABLE commits
async def test_failed_migration_leaves_nothing_behind(fresh: Database) -> None:
    name = fresh.tables.programs.name
    async with fresh.engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE TABLE {name}_jobs (id INTEGER)"))
    with pytest.raises(BookkeepingError):
        await migrate(fresh)
    assert await _names(fresh) == {f"{name}_jobs"}
    assert not await is_migrated(fresh)


async def test_tasks_that_migrate_at_once_take_turns(fresh: Database, place: Place) -> None:
    name = fresh.tables.programs.name
    rivals = [Database.connect(place.url, table_name=name) for _ in range(3)]
    await asyncio.gather(*map(migrate, rivals))
    for rival in rivals:
        assert await is_migrated(rival)
        await rival.close()


@on_postgresql
async def test_processes_that_migrate_at_once_take_turns(fresh: Database, place: Place) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            MIGRATE,
            place.url,
            str(fresh.tables.programs.name),
            stderr=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        for _ in range(3)
    ]
    for process in processes:
        _, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
    assert await is_migrated(fresh)


@on_servers  # SQLite has no such locks
async def test_tables_that_are_up_to_date_need_no_turn(fresh: Database) -> None:
    """A process that was lost while it migrated keeps nobody from starting."""
    await migrate(fresh)
    async with fresh.alone("migrate") as is_alone:
        assert is_alone
        await migrate(fresh)


@on_servers
async def test_migration_keeps_its_turn_as_long_as_it_takes_and_a_lost_one_does_not(
    fresh: Database, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory, "EXPIRES_AFTER_S", 3)
    monkeypatch.setattr(advisory, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(migrations, "KEEP_EVERY_S", 0.1)
    usual, may_end = migrations._upgrade_alone, asyncio.Event()

    def upgrade_slowly(connection: sa.Connection, tables: Tables) -> None:
        await_only(may_end.wait())
        usual(connection, tables)

    monkeypatch.setattr(migrations, "_upgrade_alone", upgrade_slowly)
    other = Database.connect(place.url, table_name=fresh.tables.programs.name)

    async def is_taken_over() -> bool:
        async with other.alone("migrate") as is_alone:
            return is_alone

    async with asyncio.TaskGroup() as tasks:
        migrating = tasks.create_task(migrate(fresh))
        for _ in range(45):  # longer than the lock of a process that says nothing
            await asyncio.sleep(0.1)
            assert not migrating.done()
        assert not await is_taken_over()
        monkeypatch.setattr(migrations, "KEEP_EVERY_S", 3_600.0)  # as if it were frozen
        await eventually(is_taken_over)
        may_end.set()
    await other.close()
    assert await is_migrated(fresh)
