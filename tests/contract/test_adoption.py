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
from program_service.bookkeeping.migrations.adoption import Flawed, adopt, plan_adoption
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


DEEP = '{"a":' * 1_200 + "1" + "}" * 1_200
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no jobs": ({"jobs": []}, "jobs is an empty list, not a list of names"),
    "jobs an object": ({"jobs": {"0": "reserve"}}, "jobs is an object, not a list of names"),
    "job a number": ({"jobs": ["reserve", 7]}, "jobs[1] is a number, not a name"),
    "job without a name": ({"jobs": [""]}, "jobs[0] has 0 characters, and must have 1 to 255"),
    "long name": ({"jobs": ["x" * 256]}, "jobs[0] has 256 characters, and must have 1 to 255"),
    "step beyond": ({"step": 3}, "step is 3, and must be from 0 to 2"),
    "step negative": ({"step": -1}, "step is -1, and must be from 0 to 2"),
    "data a list": ({"program_data": [1]}, "program_data is a list, not an object"),
    "data null": ({"program_data": "null"}, "program_data is null, not an object"),
    "job data a text": ({"job_data": '"x"'}, "job_data is a text, not an object"),
    "job's data null": ({"job_data": {"charge": None}}, "job_data.charge is null, not an object"),
    "id of 20 digits": (
        {"program_data": '{"order": {"ids": [1, 12345678901234567890]}}'},
        "program_data.order.ids[1] is an integer beyond 64 bits",
    ),
    "job's id of 20 digits": (
        {"job_data": '{"reserve": {"id": 12345678901234567890}}'},
        "job_data.reserve.id is an integer beyond 64 bits",
    ),
    "beyond a double": ({"program_data": '{"n": 1e400}'}, "program_data is JSON that no program"),
}
OF_MARIADB: dict[str, tuple[dict[str, Any], str]] = {
    "NUL": (
        {"program_data": '{"name": "a\\u0000"}'},
        "program_data.name holds the character NUL (U+0000)",
    ),
    "no moment": ({"created_at": "0000-00-00"}, "created_at is no moment"),
}
OF_POSTGRESQL: dict[str, tuple[dict[str, Any], str]] = {
    "levels": (
        {"program_data": '{"a": ' + "[" * 101 + "]" * 101 + "}"},
        "program_data nests deeper than 100 levels",
    ),
    "deep": ({"program_data": DEEP}, "program_data is JSON that no program can read (depth limit"),
}


def broken_of(database: Database) -> dict[str, tuple[dict[str, Any], str]]:
    """Return rows that nobody can run, as this kind of database keeps them."""
    is_mariadb = database.engine.dialect.name == "mysql"
    return BROKEN | (OF_MARIADB if is_mariadb else OF_POSTGRESQL)


@on_servers
async def test_programs_that_cannot_be_run_are_named_with_the_reason(theirs: Database) -> None:
    broken = broken_of(theirs)
    await insert(theirs, {"run_id": "good"}, *({"run_id": kind} | row for kind, (row, _) in
                                               broken.items()))  # fmt: skip
    with pytest.raises(NotAdoptable) as refused:
        await adopt(theirs)
    message = str(refused.value)
    assert message.startswith(f"{len(broken)} unfinished programs in ")
    for number, (kind, (_, reason)) in enumerate(broken.items(), start=2):
        assert f"id {number}, run_id {kind!r}: {reason}" in message
    assert "run_id 'good'" not in message
    assert not await is_migrated(theirs)
    with pytest.raises(NotAdoptable, match="cannot be run"):
        await plan_adoption(theirs)


@on_servers
async def test_programs_that_cannot_be_run_are_set_aside_if_that_is_wanted(
    theirs: Database,
) -> None:
    broken = broken_of(theirs)
    await insert(theirs, {"run_id": "good"}, *({"run_id": kind} | row for kind, (row, _) in
                                               broken.items()))  # fmt: skip
    planned = await plan_adoption(theirs, flawed=Flawed.SET_ASIDE)
    assert [each.run_id for each in planned.set_aside] == list(broken)
    assert [each.run_id for each in planned.unfinished] == ["good"]
    plan = await adopt(theirs, flawed=Flawed.SET_ASIDE)
    assert plan.set_aside == planned.set_aside
    for kind, (_, reason) in broken.items():
        program = await theirs.read(find, kind)
        assert program.status is Status.ERRORED
        assert program.error_message is not None
        assert program.error_message.startswith(f"This row cannot be read: {reason}")
        assert await run_to_its_end(theirs, kind) == []
    assert len(await run_to_its_end(theirs, "good")) == len(JOBS)


@on_servers
async def test_what_has_ended_may_be_broken(theirs: Database) -> None:
    broken = broken_of(theirs)
    await insert(theirs, *({"run_id": kind, "errored_at": NOON} | row for kind, (row, _) in
                           broken.items()))  # fmt: skip
    plan = await adopt(theirs)
    assert (plan.rows, list(plan.unfinished)) == (len(broken), [])
    for kind in broken:
        assert (await theirs.read(find, kind)).status is Status.ERRORED


@on_servers
async def test_so_many_programs_that_cannot_be_run_are_named_and_the_others_counted(
    theirs: Database,
) -> None:
    await insert(theirs, *({"run_id": f"run-{number}", "jobs": []} for number in range(1, 31)))
    with pytest.raises(NotAdoptable, match=r"^30 unfinished.*run_id 'run-20'.*; and 10 more\."):
        await adopt(theirs)


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
