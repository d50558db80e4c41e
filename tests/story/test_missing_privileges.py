"""Missing privileges: after an upgrade, say; programs wait, and nothing is lost or errors."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lines import Lines, logged, of_event
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.lifecycle import Status
from roles import Role
from servers import on_postgresql
from stage import Stage

pytestmark = on_postgresql


@pytest.fixture
async def role(database: Database) -> AsyncIterator[Role]:
    """Return the role of a worker."""
    role = Role(database)
    yield role
    await role.drop()


@pytest.fixture
async def restricted(role: Role, stage: Stage) -> AsyncIterator[Database]:
    """Return the connections of that role; workers that use them stop before it goes."""
    database = await role.connect()
    yield database
    await stage.crew.stop()
    await database.close()


@pytest.mark.parametrize("table", ["attempts", "rollups"])
async def test_outcomes_wait_for_a_privilege_that_is_missing(
    stage: Stage, role: Role, restricted: Database, logs: Lines, table: str
) -> None:
    """Nothing is wrong with the rows: no program errors, and no step runs again."""
    runs: list[str] = []

    @job
    async def work(ctx: JobContext) -> dict[str, bool]:
        runs.append(ctx.run_id)
        return {"is_done": True}

    async with role.lacking("INSERT", getattr(restricted.tables, table)):
        await stage.hire(work, database=restricted)
        run_ids = [await stage.submit("work", "work") for _ in range(5)]
        await eventually(lambda: logged(logs, "database.rejects_statement"))
        await eventually(lambda: _are(runs, 5))
        for run_id in run_ids:
            assert (await stage.program(run_id)).status is Status.RUNNING
    for run_id in run_ids:
        await stage.finished(run_id)
        assert await stage.outcomes(run_id) == ["done", "done"]
    assert len(runs) == 2 * len(run_ids)
    line = of_event(logs, "database.rejects_statement")[0]
    assert line["log_level"] == "error"
    assert f"permission denied for table {getattr(restricted.tables, table).name}" in str(
        line["error_message"]
    )


async def test_claims_wait_for_a_privilege_that_is_missing(
    stage: Stage, role: Role, restricted: Database, logs: Lines
) -> None:
    @job
    async def work(_ctx: JobContext) -> None:
        pass

    await stage.hire(work, database=restricted)
    async with role.lacking("UPDATE", restricted.tables.programs):
        run_id = await stage.submit("work")
        await eventually(lambda: logged(logs, "database.rejects_statement"))
        assert (await stage.program(run_id)).status is Status.PENDING
    await stage.finished(run_id)


async def test_trigger_that_rejects_one_outcome_fails_its_program_and_no_neighbour(
    stage: Stage, database: Database, logs: Lines
) -> None:
    """Invariant 12: whatever SQLSTATE a user's trigger raises, P0001 by default."""
    together = asyncio.Barrier(7)

    @job
    async def bad(_ctx: JobContext) -> dict[str, bool]:
        await together.wait()
        return {"is_done": True}

    @job
    async def good(_ctx: JobContext) -> None:
        await together.wait()

    await stage.hire(bad, good)
    async with rejecting(database, "NEW.job = 'bad' AND NEW.outcome = 'done'"):
        bad_ones = [await stage.submit("bad") for _ in range(2)]
        good_ones = [await stage.submit("good") for _ in range(5)]
        for run_id in good_ones:
            await stage.finished(run_id)
        for run_id in bad_ones:
            program = await stage.ended(run_id)
            assert program.status is Status.ERRORED
    lines = of_event(logs, "outcome.refused_by_database")
    assert sorted(str(line["run_id"]) for line in lines) == sorted(bad_ones)
    assert {line["error_message"] for line in lines} == {"not this one (P0001)"}


@pytest.mark.parametrize("code", ["08001", "40001", "40P01", "42P01", "53100", "58030"])
async def test_trigger_that_says_that_its_server_is_away_holds_up_no_neighbour(
    stage: Stage, database: Database, code: str
) -> None:
    """Its server may be another one, by a foreign table; its program waits for it, and no other."""
    together = asyncio.Barrier(4)

    @job
    async def bad(_ctx: JobContext) -> None:
        await together.wait()

    @job
    async def good(_ctx: JobContext) -> None:
        await together.wait()

    await stage.hire(bad, good)
    async with rejecting(database, "NEW.job = 'bad'", code=code):
        waiting = await stage.submit("bad")
        for run_id in [await stage.submit("good") for _ in range(3)]:
            await stage.finished(run_id)
        assert (await stage.program(waiting)).status is Status.RUNNING
    await stage.finished(waiting)
    assert await stage.outcomes(waiting) == ["done"]


@asynccontextmanager
async def rejecting(
    database: Database, condition: str, *, code: str = "P0001"
) -> AsyncGenerator[None]:
    """Have a trigger reject some rows of the attempts for a while, with this SQLSTATE."""
    table, name = database.tables.attempts.name, f"reject_{uuid.uuid4().hex[:12]}"

    async def run(statement: str) -> None:
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql(statement)

    await run(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}'; END $$"
    )
    await run(
        f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW"
        f" WHEN ({condition}) EXECUTE FUNCTION {name}()"
    )
    try:
        yield
    finally:
        await run(f"DROP FUNCTION {name} CASCADE")


async def _are(seen: list[str], count: int) -> bool:
    return len(seen) == count
