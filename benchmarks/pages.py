"""Pages: how long the dashboard's views take to answer on a long table.

    python benchmarks/pages.py                200,000 programs
    python benchmarks/pages.py 1000000

Of the programs 90 % have finished, 3 % errored, 2 % were cancelled and 5 % have not ended; there
are counts of a week, for 20 jobs. Each view is asked for one after the other, with pauses in which
what was read is forgotten, so that every answer is read anew.
"""

import argparse
import asyncio
import statistics
import time

import asyncpg
import httpx

from grounds import Grounds, grounds
from history import fill
from ours import product

ROUNDS = 15
FORGOTTEN_S = 1.1

CHANGES = (
    """
UPDATE programs SET finished_at = NULL, errored_at = finished_at, step = 1,
                    error_message = 'no answer of the bank for order ' || id || ' after '
                                    || id % 60 || ' s'
 WHERE id % 100 IN (1, 2, 3, 4, 5)
""",
    "UPDATE programs SET cancelled_at = errored_at WHERE id % 100 IN (4, 5)",
    """
UPDATE programs SET finished_at = NULL, step = id % 3, due_at = now() - id % 600 * interval '1 ms'
 WHERE id % 20 = 6
""",
    """
UPDATE programs SET labels = jsonb_build_object('customer', (id % 5000)::text) WHERE id % 3 = 0
""",
    """
INSERT INTO programs_rollups (minute, job, outcome, worker, bucket, shard, count)
SELECT date_trunc('minute', now()) - n * interval '1 minute', 'job-' || job, outcome, 'worker',
       15 + job % 10, 0, 7
  FROM generate_series(0, 7 * 24 * 60 - 1) AS n, generate_series(1, 20) AS job,
       unnest(ARRAY['done', 'retry', 'failed']) AS outcome
""",
    """
INSERT INTO programs_jobs (name, kind, queue, policy, created_at, last_seen_at)
SELECT 'job-' || n, 'in_process', 'default', '{}', now(), now() FROM generate_series(1, 20) AS n
""",
    "VACUUM ANALYZE programs, programs_rollups, programs_jobs",
)

VIEWS = (
    "/",
    "/ui/programs",
    "/ui/programs?status=errored",
    "/ui/programs?status=cancelled",
    "/ui/programs?status=pending",
    "/ui/programs?status=running",
    "/ui/programs?status=retrying",
    "/ui/programs?status=in_progress&order=oldest",
    "/ui/programs?label=customer:42",
    "/ui/programs?job=nothing_b&status=in_progress",
    "/ui/programs?error=bank&within=24h",
    "/ui/programs/old-1006",
    "/ui/failures",
    "/ui/jobs",
    "/ui/workers",
    "/ui/bulk/cancel?status=in_progress",
)


async def prepare(url: str, rows: int) -> None:
    """Fill the table."""
    await fill(url, rows)
    connection = await asyncpg.connect(url)
    for statement in CHANGES:
        await connection.execute(statement, timeout=None)
    await connection.close()


async def look(url: str) -> None:
    """Ask for each view, and print the median and the longest time."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        took: dict[str, list[float]] = {view: [] for view in VIEWS}
        for _ in range(ROUNDS):
            for view in VIEWS:
                began = time.perf_counter()
                answer = await client.get(view)
                took[view].append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
            await asyncio.sleep(FORGOTTEN_S)
    print(f"{'view':<50} {'median':>8} {'longest':>8}   ms")
    for view, times in took.items():
        print(f"{view:<50} {statistics.median(times):8.0f} {max(times):8.0f}")


async def measure(places: Grounds, rows: int) -> None:
    """Serve a long table, and look at it."""
    async with product(places) as ours, ours.serving():
        await prepare(ours.database_url, rows)
        await look(ours.url)


def main() -> None:
    """Measure, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=int, nargs="?", default=200_000)
    rows: int = parser.parse_args().programs
    with grounds() as places:
        asyncio.run(measure(places, rows))


if __name__ == "__main__":
    main()
