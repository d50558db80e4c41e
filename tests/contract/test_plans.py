"""Plans: on a long table no statement of the hot path reads what it does not need."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from builders import JOBS, a_claim, a_claimant, a_record, lapse, seconds_ago
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import Hold, claim, renew
from program_service.bookkeeping.ledger.job_data import (
    JobDataEdit,
    change_job_data,
    edit_job_data,
)
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs, versions
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.ledger.waking import (
    Silence,
    find_due,
    find_unanswered,
    mark_woken,
    queues_with_unanswered,
)
from program_service.bookkeeping.lifecycle import Claimed, Done, Status
from program_service.bookkeeping.migrations import migrate
from servers import Place

ROWS = 30_000
QUIET_ROWS = 1_000
"""All of these have finished: what there is in a quiet hour."""

BATCH = 100

FILL = """
INSERT INTO {name} (
    run_id, jobs, program_data, job_data, labels, job, queue, created_at, updated_at,
    due_at, woken_at, finished_at, errored_at
)
SELECT 'run-' || n, '["reserve", "charge"]', '{{}}', '{{}}',
       CASE WHEN n % 1000 = 0 THEN '{{"tenant": "acme"}}' ELSE '{{}}' END::jsonb,
       'reserve', 'default', now(), now(),
       CASE WHEN n % 3 > 0 THEN now() - interval '1 hour' END,
       CASE WHEN n % 300 > 2 THEN now() - interval '50 minutes' END,
       CASE WHEN n % 3 = 0 OR n <= {quiet} THEN now() END,
       CASE WHEN n % 500 = 1 THEN now() END
  FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
"""


@pytest.fixture(scope="module", params=["new", "of_a_quiet_hour"])
def long_table(request: pytest.FixtureRequest, postgresql_url: str) -> Place:
    """Fill a table; its statistics are new, or from when all had finished."""
    place = Place(postgresql_url, f"statistics_{request.param}")
    asyncio.run(
        _fill(place, analyzed_at=QUIET_ROWS if request.param == "of_a_quiet_hour" else ROWS)
    )
    return place


async def _fill(place: Place, *, analyzed_at: int) -> None:
    database = Database.connect(place.url, table_name=place.table_name)
    await migrate(database)
    name = place.table_name
    fill = sa.text(FILL.format(name=name, quiet=QUIET_ROWS))
    async with database.engine.begin() as connection:
        off = sa.text(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
        await connection.execute(off)
        await connection.execute(fill, {"first": 1, "last": analyzed_at})
        await connection.execute(sa.text(f"ANALYZE {name}"))
        await connection.execute(fill, {"first": analyzed_at + 1, "last": ROWS})
    await database.close()


class Explained:
    """A database whose statements are looked at: what they run, and how PostgreSQL would."""

    def __init__(self, place: Place) -> None:
        self.database = Database.connect(place.url, table_name=place.table_name)
        self._seen: list[tuple[str, Any]] = []
        sa.event.listen(self.database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        self._seen.append((statement, values))

    async def scans(self, work: Callable[[], Awaitable[object]]) -> list[str]:
        """Do some work; return how its statements read the program table, in their order."""
        await work()
        self._seen.clear()
        await work()
        seen, self._seen = self._seen, []
        async with self.database.engine.connect() as connection:
            plans = [
                await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values)
                for statement, values in seen
                if self.database.tables.programs.name in statement
            ]
        return [scan for plan in plans for scan in self._scans(plan.scalar_one()[0]["Plan"])]

    @contextmanager
    def unseen(self) -> Iterator[Database]:
        """Do something that is not looked at."""
        seen = len(self._seen)
        yield self.database
        del self._seen[seen:]

    def _scans(self, node: dict[str, Any]) -> Iterator[str]:
        name = self.database.tables.programs.name
        kind, index = node["Node Type"], node.get("Index Name", "")
        if kind.endswith("Scan") and (node.get("Relation Name") == name or name in index):
            yield f"{kind} {index.removeprefix(name)}".strip()
        for child in node.get("Plans", ()):
            yield from self._scans(child)


@pytest.fixture
async def explained(long_table: Place) -> AsyncIterator[Explained]:
    """Return a database with a long table."""
    explained = Explained(long_table)
    yield explained
    await explained.database.close()


async def _some(explained: Explained, first: int) -> list[str]:
    """Return the run_ids of due programs, other ones for each test, as if nothing had happened."""
    run_ids = [f"run-{3 * number + 2}" for number in range(first, first + BATCH)]
    with explained.unseen() as database:
        due_at, programs = seconds_ago(database, 60), database.tables.programs
        chosen = programs.update().where(programs.c.run_id.in_(run_ids))
        async with database.engine.begin() as connection:
            afresh = chosen.values(lease=None, errored_at=None, step=0, due_at=due_at)
            await connection.execute(afresh)
    return run_ids


async def _claimed(database: Database, run_ids: list[str]) -> list[Claimed]:
    claims = [a_claim(run_id) for run_id in run_ids]
    answers = await database.transact(claim, claims, a_claimant())
    return [answer for answer in answers if isinstance(answer, Claimed)]


KEY, ID = "Index Scan _run_id_key", "Index Scan _pkey"


async def test_claim_looks_programs_up_by_their_keys(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        run_ids = await _some(explained, 400)
        assert len(await _claimed(database, run_ids)) == BATCH

    assert set(await explained.scans(work)) == {KEY}


async def test_claim_of_lapsed_leases_looks_programs_up_by_their_keys(
    explained: Explained,
) -> None:
    database = explained.database

    async def work() -> None:
        run_ids = (await _some(explained, 600))[:5]
        await _claimed(database, run_ids)
        with explained.unseen():
            for run_id in run_ids:
                await lapse(database, run_id)
        again = await _claimed(database, run_ids)
        assert [program.lease_losses > 0 for program in again] == [True] * 5

    assert set(await explained.scans(work)) == {KEY}


async def test_record_and_renew_look_programs_up_by_their_ids(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        programs = await _claimed(database, await _some(explained, 800))
        holds = [Hold(program.id, program.lease) for program in programs]
        assert len(await database.transact(renew, holds, lease_s=60.0)) == BATCH
        edits = [JobDataEdit(program, "merge", {"a": 1}) for program in programs]
        await database.transact(change_job_data, edits)
        records = [a_record(program, Done({"b": 2})) for program in programs]
        assert None not in await database.transact(record, records)
        assert None not in await database.transact(record, records)  # looks for the receipts

    scans = await explained.scans(work)
    assert set(scans) == {KEY, ID}
    assert scans.count(ID) >= 6


async def test_sweep_reads_the_index_of_what_is_due(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        await database.read(find_due, jobs=JOBS, limit=BATCH)
        await database.read(queues_with_unanswered, silence_s=30.0)
        silence = Silence("default", 30.0)
        page = await database.read(find_unanswered, silence, jobs=JOBS, limit=BATCH)
        assert len(page.rows) == BATCH

    scans = await explained.scans(work)
    assert len(scans) >= 3
    assert all(scan.endswith("_due") for scan in scans)


async def test_marking_what_was_woken_looks_programs_up_by_their_ids(
    explained: Explained,
) -> None:
    database = explained.database
    page = await database.read(find_unanswered, Silence("default", 30.0), jobs=JOBS, limit=BATCH)
    scans = await explained.scans(lambda: database.transact(mark_woken, page.rows))
    assert set(scans) == {ID}


async def test_one_program_is_looked_up_by_its_key(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        await database.read(find, "run-29999")
        await database.read(versions, ["run-29999", "run-5"])
        await database.transact(edit_job_data, "run-29999", "reserve", kind="set", value={"a": 1})
        await database.transact(cancel, "run-29999")
        await database.transact(resume, "run-29999", queues={})

    scans = await explained.scans(work)
    assert {scan.partition(" ")[0] for scan in scans} <= {"Index", "Bitmap"}
    assert {scan.rpartition(" ")[2] for scan in scans} <= {"_run_id_key", "_pkey"}


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(), "_pkey"),
        (Filter(status=Status.ERRORED), "_errored"),
        (Filter(labels=[("tenant", "acme")]), "_labels"),
    ],
    ids=["all", "errored", "labels"],
)
async def test_lists_are_served_by_an_index(
    explained: Explained, wanted: Filter, index: str
) -> None:
    database = explained.database
    scans = await explained.scans(lambda: database.read(list_programs, wanted, limit=50))
    assert any(scan.endswith(index) for scan in scans)
    assert not any(scan.startswith("Seq") for scan in scans)
