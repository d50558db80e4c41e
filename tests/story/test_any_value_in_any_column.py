"""Any value in any column: whatever somebody writes into a row, everything else goes on.

Every column of every table is written into while a service, its loops and a worker run. A new
table, column, page or call is covered without a word here.
"""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from asking_everywhere import everywhere_in
from builders import JOBS
from keys import KEYS, entry_of
from lines import Lines
from odd_rows import ROWS, Gate, Rows, Scene
from odd_values import odd_values, table_of, write
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.tables import Tables
from program_service.loops import purger
from program_service.loops.supervisor import Watch
from program_workers.library import Job
from program_workers.worker import Stopped
from servers import Place, place_of
from serving import serving

GOOD = 5
CONCURRENCY = 1_000
"""More programs than are held at a time."""
WITHIN_S = 180.0

LOOPS = ("sweeper", "purger", "leases", "asking")
"""Those that take turns by themselves, in the service and in the worker."""
FORBIDDEN = {"loop.failed", "program.failed_internally", "commit.failed", "request.failed"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where this test's tables are, for each kind of database."""
    return place_of(request, tmp_path)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the turns that loops complete; the purger takes one a second, too."""
    counted: Counter[str] = Counter()
    complete = Watch.complete

    def count(watch: Watch) -> None:
        counted[watch.loop.name] += 1
        complete(watch)

    monkeypatch.setattr(Watch, "complete", count)
    monkeypatch.setattr(purger, "TURN_EVERY_S", 1.0)
    return counted


@pytest.fixture
async def scene(database: Database, logs: Lines, turns: Counter[str]) -> AsyncIterator[Scene]:
    """Serve, with one worker; whoever beats is shown for the whole test."""
    del logs, turns  # they are there before anything runs
    gate = Gate()
    async with (
        serving(
            database,
            jobs=JOBS,
            api_keys=entry_of("admin"),
            worker_beat_s=300.0,
            retention_days=1,
        ) as service,
        everywhere_in(service.app, key=KEYS["admin"]) as everywhere,
    ):
        # with keys: rows of some would close a service that has none
        service.client.headers["Authorization"] = f"Bearer {KEYS['admin']}"
        await service.crew.hire(*_jobs(), gate.job, concurrency=CONCURRENCY, lease_s=9.0)
        yield Scene(service, everywhere, gate)


@pytest.mark.parametrize("kind", ROWS)
async def test_whatever_is_written_into_a_row_everything_else_goes_on(
    scene: Scene, kind: str, logs: Lines, turns: Counter[str]
) -> None:
    table = table_of(scene.service.database.tables, ROWS[kind].table)
    for column in table.columns:
        await _write_into(scene, ROWS[kind], column)
    _nothing_failed(scene, logs)
    await _loops_pass(scene, logs, turns)
    await scene.everywhere.look_at_lists("all was written")
    await _good_programs_finish(scene)
    await _all_is_well(scene)
    _nothing_failed(scene, logs)


def test_rows_of_every_table_are_written_into() -> None:
    tables = {field.name for field in fields(Tables)} - {"metadata"}
    assert {rows.table for rows in ROWS.values()} == tables


async def _write_into(scene: Scene, rows: Rows, column: sa.Column[object]) -> None:
    """Write each odd value into a row of its own, and go on with the rows that took it."""
    database = scene.service.database
    values = odd_values(column, database.engine.dialect.name)
    written: dict[str, str] = {}
    for key, value in zip(await rows.make(scene, len(values)), values, strict=True):
        if await write(database, column, value, where=column.table.c[rows.key] == key):
            written[key] = f"{column} = {value[:80]}"
            names = {rows.key: key, "job": "reserve", "action": "cancel"}
            await scene.everywhere.look_at(names, written[key])
    assert written, f"the database took no value for {column}"
    await scene.everywhere.look_at_lists(list(written.values()))
    await rows.go_on(scene, list(written))
    scene.service.crew.look_alive()


async def _loops_pass(scene: Scene, logs: Lines, turns: Counter[str]) -> None:
    """Wait until each loop that needs no occasion has begun and ended a turn since."""
    before = turns.copy()

    async def none_is_behind() -> bool:
        scene.service.crew.look_alive()
        _nothing_failed(scene, logs)
        return all(turns[name] >= before[name] + 2 for name in LOOPS)

    await eventually(none_is_behind, within_s=WITHIN_S)


async def _good_programs_finish(scene: Scene) -> None:
    for _ in range(GOOD):
        run_id = (await scene.service.submit(*JOBS))["run_id"]
        assert (await scene.service.ended(run_id))["status"] == "finished"


async def _all_is_well(scene: Scene) -> None:
    """The service is ready, all programs are listed, and the worker has lost no slot."""
    for path in ("/livez", "/readyz"):
        assert (await scene.service.client.get(path)).status_code == 200
    assert await scene.everywhere.look_at_all_programs() >= GOOD
    (shift,) = scene.service.crew.shifts
    scene.gate.let_go()
    assert await shift.stop() is Stopped.DRAINED
    assert shift.worker._slots.free == CONCURRENCY


def _nothing_failed(scene: Scene, logs: Lines) -> None:
    failures = scene.everywhere.failures
    assert failures == [], "\n".join(failures[:20])
    failed = [line for line in logs if line["event"] in FORBIDDEN and not _is_refused(line)]
    assert failed == [], "\n".join(str(line)[-1_500:] for line in failed[:5])


def _is_refused(line: dict[str, Any]) -> bool:
    """Whether the database refuses what a worker writes into an odd row: that is the row's own."""
    last_line = str(line.get("exception", "")).rstrip().rpartition("\n")[2]
    return line["event"] == "program.failed_internally" and "BatchRefused: " in last_line


def _jobs() -> list[Job]:
    async def run(_ctx: JobContext) -> None:
        pass

    return [job(name)(run) for name in JOBS]
