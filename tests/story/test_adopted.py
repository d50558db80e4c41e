"""Adopted: from the command line to the last step, a table of the Node library and our worker."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest

from node_library import FILLED, JOBS, insert, node_table
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.lifecycle import Status
from servers import Place, on_servers
from stage import staged


@pytest.fixture
async def theirs(place: Place) -> AsyncIterator[Database]:
    """Return a database with a table that the Node library has filled."""
    async with node_table(place.url) as database:
        await insert(database, *FILLED)
        yield database


async def adopt(database: Database, *options: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it said."""
    url = database.engine.url.render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "program_executor", "adopt"),
        *("--table", database.tables.programs.name, *options),
        env=os.environ | {"PROGRAM_EXECUTOR_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@on_servers
async def test_unfinished_programs_of_an_adopted_table_finish(theirs: Database) -> None:
    """Invariants 1 and 4."""
    ran: list[tuple[str, str]] = []

    async def note(ctx: JobContext) -> None:
        ran.append((ctx.run_id[-3:], ctx.job))

    code, said = await adopt(theirs, "--dry-run")
    assert (code, "this was a dry run" in said) == (0, True), said
    assert "3 unfinished programs would go on" in said
    code, said = await adopt(theirs)
    assert (code, "The table is adopted" in said) == (0, True), said
    async with staged(theirs) as stage:
        await stage.hire(*(job(name)(note) for name in JOBS))
        for row in FILLED[2:]:
            await stage.finished(row["run_id"])
        ended = {row["run_id"]: await stage.program(row["run_id"]) for row in FILLED[:2]}
    assert [program.status for program in ended.values()] == [Status.FINISHED, Status.ERRORED]
    assert sorted(ran) == [
        ("333", "charge"),
        ("333", "ship"),
        ("444", "charge"),
        ("444", "ship"),
        ("555", "charge"),
        ("555", "reserve"),
        ("555", "ship"),
    ]
    code, said = await adopt(theirs)
    assert (code, "already" in said) == (2, True), said
