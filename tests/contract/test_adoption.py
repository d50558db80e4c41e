"""Adoption: a table as the Node library makes and fills it becomes ours, and its programs go on."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from builders import recorded, row_of, submitted, try_claim
from node_library import FILLED, JOBS, NOON, insert, node_table
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotAdoptable
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.recording import Recorded
from program_service.bookkeeping.lifecycle import Claimed, Done, Status
from program_service.bookkeeping.migrations import is_migrated, migrate
from program_service.bookkeeping.migrations.adoption import adopt, plan_adoption
from servers import Place, on_servers, on_sqlite
from tables import differences


@pytest.fixture
async def theirs(place: Place) -> AsyncIterator[Database]:
    """Return a database with an empty table of the Node library."""
    async with node_table(place.url) as database:
        yield database


async def run_to_its_end(database: Database, run_id: str) -> list[tuple[str, int]]:
    """Run a program as a worker does; return each job and its attempt."""
    seen = []
    for _ in JOBS:
        program = await try_claim(database, run_id)
        if not isinstance(program, Claimed):
            break
        seen.append((program.job, program.attempt))
        assert isinstance(
            await recorded(database, program, Done({"by": "us"}), is_next_mine=False), Recorded
        )
    return seen


@on_servers
async def test_unfinished_programs_go_on_from_their_step(theirs: Database) -> None:
    """Invariants 1 and 4: what a program has done is not done again."""
    await insert(theirs, *FILLED)
    await adopt(theirs)
    assert await run_to_its_end(theirs, "1762171200000333") == [("charge", 1), ("ship", 1)]
    assert await run_to_its_end(theirs, "1762171200000444") == [("charge", 4), ("ship", 1)]
    assert await run_to_its_end(theirs, "1762171200000555") == [(job, 1) for job in JOBS]
    for row in FILLED[2:]:
        program = await theirs.read(find, row["run_id"])
        assert program.status is Status.FINISHED
        assert program.program_data == row.get("program_data", {})
    went_on = await theirs.read(find, "1762171200000333")
    assert went_on.job_data == {
        "reserve": {"seats": [4, 5]},
        "charge": {"by": "us"},
        "ship": {"by": "us"},
    }


@on_servers
async def test_ended_programs_stay_as_they_are(theirs: Database) -> None:
    """Invariant 6."""
    await insert(theirs, *FILLED)
    await adopt(theirs)
    finished = await theirs.read(find, "1762171200000111")
    assert (finished.status, finished.program_data) == (Status.FINISHED, {"n": 1})
    assert finished.finished_at is not None
    assert finished.finished_at.isoformat() == "2025-11-03T12:00:00+00:00"
    errored = await theirs.read(find, "1762171200000222")
    assert (errored.status, errored.error_message) == (Status.ERRORED, "x" * 255)
    assert errored.job == "charge"
    assert (await row_of(theirs, finished.run_id))["due_at"] is None
    # kept, as in rows of ours: errored_at is all that stops it
    assert (await row_of(theirs, errored.run_id))["due_at"] is not None
    for run_id in (finished.run_id, errored.run_id):
        assert await run_to_its_end(theirs, run_id) == []


@on_servers
async def test_adopted_table_is_one_of_ours_to_the_last_column(theirs: Database) -> None:
    await insert(theirs, *FILLED)
    await adopt(theirs)
    assert await is_migrated(theirs)
    async with theirs.engine.connect() as connection:
        assert await connection.run_sync(differences, theirs) == []
    await submitted(theirs, "new", jobs=JOBS)
    assert len(await run_to_its_end(theirs, "new")) == len(JOBS)
    await migrate(theirs)


@on_servers
async def test_plan_says_what_would_be_done_and_does_nothing(theirs: Database) -> None:
    await insert(theirs, *FILLED)
    plan = await plan_adoption(theirs)
    assert plan.rows == 5
    assert [(each.run_id[-3:], each.step) for each in plan.unfinished] == [
        ("333", 1),
        ("444", 1),
        ("555", 0),
    ]
    assert "column error_message: VARCHAR(255) becomes" in "\n".join(plan.changes)
    assert any(change.startswith("column due_at: added") for change in plan.changes)
    assert not any(change.startswith("column run_id:") for change in plan.changes)
    assert not await is_migrated(theirs)
    assert (await adopt(theirs)).changes == plan.changes
    with pytest.raises(NotAdoptable, match="already"):
        await plan_adoption(theirs)


@on_servers
async def test_run_ids_that_stand_twice_are_refused_with_their_ids(theirs: Database) -> None:
    await insert(theirs, *FILLED, {"run_id": "1762171200000333"}, {"run_id": "1762171200000333"})
    for look in (plan_adoption, adopt):
        with pytest.raises(NotAdoptable, match=r"1762171200000333 \(id 3, 6, 7\)"):
            await look(theirs)
    assert not await is_migrated(theirs)


@on_servers
@pytest.mark.parametrize(
    "broken",
    [
        {"jobs": []},
        {"jobs": {"0": "reserve"}},
        {"jobs": ["reserve", 7]},
        {"jobs": [""]},
        {"step": 3},
        {"step": -1},
    ],
    ids=repr,
)
async def test_unfinished_program_without_a_job_is_refused_with_its_id(
    theirs: Database, broken: dict[str, Any]
) -> None:
    await insert(theirs, {"run_id": "1"}, {"run_id": "2"} | broken)
    with pytest.raises(NotAdoptable, match=r"id 2\."):
        await adopt(theirs)
    await insert(theirs, {"run_id": "3", "errored_at": NOON} | broken)
    async with theirs.engine.begin() as connection:
        name = theirs.tables.programs.name
        await connection.exec_driver_sql(f"DELETE FROM {name} WHERE id = 2")
    await adopt(theirs)  # what has ended may be broken
    assert (await row_of(theirs, "3"))["errored_at"] is not None


@on_servers
async def test_table_of_somebody_else_is_refused(theirs: Database) -> None:
    async with theirs.engine.begin() as connection:
        name = theirs.tables.programs.name
        await connection.exec_driver_sql(f"ALTER TABLE {name} DROP COLUMN job_data")
    with pytest.raises(NotAdoptable, match="no column job_data"):
        await adopt(theirs)


@on_servers
async def test_migrating_over_their_table_says_how_to_adopt_it(theirs: Database) -> None:
    with pytest.raises(NotAdoptable, match="program-executor adopt --table"):
        await migrate(theirs)


@on_servers
async def test_table_that_is_not_there_is_refused(place: Place) -> None:
    database = Database.connect(place.url, table_name="nowhere")
    with pytest.raises(NotAdoptable, match="no table 'nowhere'"):
        await adopt(database)
    await database.close()


@on_sqlite
async def test_sqlite_is_refused(database: Database) -> None:
    with pytest.raises(NotAdoptable, match="this is SQLite"):
        await adopt(database)
