"""Expand first, contract a release later: what each migration leaves to the code of before."""

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from contractions import Shape, complaint, contractions, shape_of
from program_service.bookkeeping import migrations
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.migrations import upgrade
from servers import Place, not_on_mariadb, on_postgresql
from tables import drop_all

ROOT = Path(__file__).parents[2]
RELEASED = set(
    re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
)


def _scripts() -> list[ModuleType]:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    walked = ScriptDirectory.from_config(config).walk_revisions()
    return [script.module for script in walked if script.down_revision]


@pytest.fixture
async def fresh(place: Place) -> AsyncIterator[Database]:
    """Return a database whose tables have a name that nobody used before."""
    database = Database.connect(place.url, table_name=f"fresh_{uuid.uuid4().hex[:8]}")
    yield database
    await drop_all(database)
    await database.close()


async def brought_to(database: Database, revision: str) -> Shape:
    """Migrate so far and no further, and return the shape of the tables."""

    def bring(connection: sa.Connection) -> Shape:
        upgrade(connection, database.tables, to=revision)
        return shape_of(connection, str(database.tables.programs.name))

    async with database.engine.begin() as connection:
        return await connection.run_sync(bring)


@not_on_mariadb  # the scripts are the same; two are enough to read what they do
@pytest.mark.parametrize("script", [pytest.param(each, id=each.revision) for each in _scripts()])
async def test_migration_takes_nothing_away_that_the_last_release_uses(
    fresh: Database, script: ModuleType
) -> None:
    before = await brought_to(fresh, script.down_revision)
    after = await brought_to(fresh, script.revision)
    unused_since = getattr(script, "UNUSED_SINCE", None)
    assert complaint(contractions(before, after), unused_since, RELEASED) is None


async def changed(database: Database, statement: str) -> list[str]:
    """Return what changing the tables so would take away, without the tables' name."""
    name = str(database.tables.programs.name)
    async with database.engine.connect() as connection:
        before = await connection.run_sync(shape_of, name)
        await connection.execute(sa.text(statement.format(t=name)))
        after = await connection.run_sync(shape_of, name)
        await connection.rollback()
    return [each.replace(name, "t") for each in contractions(before, after)]


@on_postgresql
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE {t}_jobs DROP COLUMN timeout_s", "t_jobs: no more column timeout_s"),
        ("ALTER TABLE {t}_jobs RENAME COLUMN kind TO sort", "t_jobs: no more column kind"),
        ("ALTER TABLE {t}_jobs RENAME TO {t}_tasks", "t_jobs: no more column kind"),
        ("DROP TABLE {t}_idempotency", "t_idempotency: no more column key"),
        ("DROP VIEW {t}_status", "t_status: no more column status"),
        (
            "ALTER TABLE {t}_workers ALTER COLUMN busy TYPE BIGINT",
            "t_workers: no more column busy, INTEGER",
        ),
        (
            "ALTER TABLE {t}_attempts ALTER COLUMN worker SET NOT NULL",
            "t_attempts: no more worker may be NULL",
        ),
        (
            "ALTER TABLE {t} ALTER COLUMN resumes DROP DEFAULT",
            "t: no more resumes may be left out",
        ),
        ("ALTER TABLE {t}_jobs ADD COLUMN new INTEGER NOT NULL", "t_jobs: from now on new must be"),
        ("ALTER TABLE {t}_jobs ADD UNIQUE (queue)", "t_jobs: from now on unique ['queue']"),
        ("CREATE UNIQUE INDEX i ON {t}_jobs (kind)", "t_jobs: from now on unique ['kind']"),
        ("ALTER TABLE {t}_jobs ADD CHECK (timeout_s > 0)", "t_jobs: from now on check"),
    ],
)
async def test_contraction_is_seen(database: Database, statement: str, found: str) -> None:
    assert any(each.startswith(found) for each in await changed(database, statement))


@on_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {t} ADD COLUMN new INTEGER",
        "ALTER TABLE {t} ADD COLUMN new INTEGER NOT NULL DEFAULT 7",
        "CREATE TABLE {t}_new (id INTEGER NOT NULL PRIMARY KEY)",
        "CREATE INDEX {t}_new ON {t} (job)",
        "DROP INDEX {t}_created",
        "ALTER TABLE {t}_jobs ALTER COLUMN queue DROP NOT NULL",
    ],
)
async def test_expansion_is_none(database: Database, statement: str) -> None:
    assert await changed(database, statement) == []


def test_contraction_needs_a_release_that_did_without() -> None:
    assert complaint([], None, set()) is None
    assert "no UNUSED_SINCE" in (complaint(["t: no more column a"], None, {"0.1.0"}) or "")
    assert "no release" in (complaint(["t: no more column a"], "0.2.0", {"0.1.0"}) or "")
    assert complaint(["t: no more column a"], "0.1.0", {"0.1.0"}) is None
