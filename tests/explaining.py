"""Explaining: a table of 200,000 programs, and how PostgreSQL runs our statements on it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.migrations import migrate
from servers import Place

ROWS = 200_000
OPEN_ROWS = 20_000
"""The newest; of ten one is held, one scheduled, one retrying, one due and unwoken, six woken."""

QUIET_ROWS = 1_000
"""The oldest; all of these have ended: what there is in a quiet hour."""

BESIDE = ("_attempts", "_idempotency", "_rollups")

COUNTS = 20
"""Rows of counts for each minute: of the last week."""

FILL = (
    """
INSERT INTO {name} (
    run_id, jobs, program_data, job_data, labels, job, queue, created_at, updated_at,
    finished_at, errored_at, cancelled_at, error_message, step_retry_count,
    due_at, woken_at, lease, claimed_by
)
SELECT 'run-' || n, '["reserve", "charge"]', '{{}}', '{{}}',
       CASE WHEN n % 1000 = 0 THEN '{{"tenant": "acme"}}' ELSE '{{}}' END::jsonb,
       'reserve', CASE WHEN n % 100 = 5 THEN 'mail' ELSE 'default' END,
       at - interval '1 minute', at,
       CASE WHEN n <= {ended} AND n % 200 > 1 THEN at END,
       CASE WHEN n <= {ended} AND n % 200 <= 1 THEN at END,
       CASE WHEN n <= {ended} AND n % 200 = 0 THEN at END,
       CASE WHEN n % 200 = 1 OR n % 500 = 3 OR n > {ended} AND n % 10 = 2 THEN 'no bank' END,
       CASE WHEN n > {ended} AND n % 10 = 2 THEN 1 ELSE 0 END,
       CASE WHEN n <= {ended} AND n % 200 > 1 THEN NULL
            WHEN n <= {ended} THEN at
            WHEN n % 10 <= 2 THEN now() + interval '1 hour'
            ELSE now() - interval '1 hour' END,
       CASE WHEN n > {ended} AND n % 10 >= 4 THEN now() - interval '50 minutes' END,
       CASE WHEN n > {ended} AND n % 10 = 0 THEN md5(n::text) END,
       CASE WHEN n > {ended} AND n % 10 = 0 THEN 'worker-1' END
  FROM (SELECT n, now() - ({rows} - n) * interval '30 seconds' AS at
          FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n) AS numbers
""",
    """
INSERT INTO {name}_attempts (run_id, lease, step, attempt, job, finished_at, outcome)
SELECT 'run-' || n, md5(n::text), 1, 1, 'charge', now(), 'done'
  FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n WHERE n <= {ended}
""",
    """
INSERT INTO {name}_idempotency (owner, key, request_hash, run_id)
SELECT 'shop', 'order-' || n, md5(n::text), 'run-' || n
  FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n WHERE n % 4 = 0
""",
    """
INSERT INTO {name}_rollups (minute, job, outcome, worker, bucket, shard, count)
SELECT date_trunc('minute', now()) - ({rows} - n) / {counts} * interval '1 minute', 'reserve',
       CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'done' END, 'worker-1', n % {counts}, 0, 7
  FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
""",
)


@cache
def filled(place: Place, *, analyzed_at: int) -> Place:
    """Fill the tables of a place; their statistics are from when there were so many rows.

    Once for a process: pytest makes a fixture of the whole run anew for each file that uses it, if
    files without it come between.
    """
    asyncio.run(_fill(place, analyzed_at))
    return place


async def _fill(place: Place, analyzed_at: int) -> None:
    database = Database.connect(place.url, table_name=place.table_name)
    await migrate(database)
    name = place.table_name
    tables = (name, *(f"{name}{suffix}" for suffix in BESIDE))
    sizes = {"ended": ROWS - OPEN_ROWS, "rows": ROWS, "counts": COUNTS}
    fills = [sa.text(each.format(name=name, **sizes)) for each in FILL]
    async with database.engine.begin() as connection:
        for table in tables:
            off = sa.text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            await connection.execute(off)
        for fill in fills:
            await connection.execute(fill, {"first": 1, "last": analyzed_at})
        for table in tables:
            await connection.execute(sa.text(f"ANALYZE {table}"))
        for fill in fills:
            await connection.execute(fill, {"first": analyzed_at + 1, "last": ROWS})
        # a vacuum does that, every now and then
        await connection.execute(sa.text(f"SELECT brin_summarize_new_values('{name}_created')"))
    await database.close()


@dataclass(frozen=True, slots=True)
class Scan:
    """How a statement reads a table: `Index Scan`, by which index, and how many rows of it.

    Table and index are named without the program table's name, which they begin with.
    """

    kind: str
    table: str
    index: str
    rows: int

    @property
    def way(self) -> str:
        """The kind and the index."""
        return f"{self.kind} {self.index}".strip()


class Explained:
    """A database whose statements are looked at: what they run, and how PostgreSQL would."""

    def __init__(self, place: Place) -> None:
        self.database = Database.connect(place.url, table_name=place.table_name)
        self._name = place.table_name
        self._seen: list[tuple[str, Any]] = []
        sa.event.listen(self.database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        self._seen.append((statement, values))

    async def scans(self, work: Callable[[], Awaitable[object]]) -> list[Scan]:
        """Do some work; return how its statements read our tables, in their order.

        They are run once more for it, and rolled back.
        """
        await work()
        self._seen.clear()
        await work()
        seen, self._seen = self._seen, []
        plans = [
            await self._explain(statement, values)
            for statement, values in seen
            if self._name in statement
        ]
        return [scan for plan in plans for scan in self._scans(plan)]

    async def ways(self, work: Callable[[], Awaitable[object]]) -> list[str]:
        """Do some work; return how its statements read the program table, in their order."""
        return [scan.way for scan in await self.scans(work) if not scan.table]

    @contextmanager
    def unseen(self) -> Iterator[Database]:
        """Do something that is not looked at."""
        seen = len(self._seen)
        yield self.database
        del self._seen[seen:]

    async def _explain(self, statement: str, values: Any) -> dict[str, Any]:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        async with self.database.engine.connect() as connection:
            answer = await connection.exec_driver_sql(explain, values)
            plan: dict[str, Any] = answer.scalar_one()[0]["Plan"]
            await connection.rollback()
        return plan

    def _scans(self, node: dict[str, Any]) -> Iterator[Scan]:
        kind, index = node["Node Type"], node.get("Index Name", "")
        # a Bitmap Index Scan does not say of which table, but indexes have names like theirs
        what = node.get("Relation Name", index)
        if kind.endswith("Scan") and what.startswith(self._name):
            parts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
            rows = sum(node.get(part, 0) for part in parts) * node["Actual Loops"]
            rest = what.removeprefix(self._name)
            table = next((each for each in BESIDE if rest.startswith(each)), "")
            yield Scan(kind, table, index.removeprefix(self._name), round(rows))
        for child in node.get("Plans", ()):
            yield from self._scans(child)
