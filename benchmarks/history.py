"""History: a table in which many programs have finished long ago."""

import asyncpg

FILL = (
    """
INSERT INTO programs (run_id, jobs, program_data, job_data, labels, job, queue, step, version,
                      created_at, updated_at, finished_at)
SELECT 'old-' || n, '["nothing_a", "nothing_b", "nothing_c"]', '{"global": "x"}', '{}', '{}',
       'nothing_c', 'default', 3, 5, at, at, at
  FROM (SELECT n, now() - ($1 - n) * interval '3 seconds' AS at
          FROM generate_series(1, $1::integer) AS n) AS numbers
""",
    """
INSERT INTO programs_attempts (run_id, lease, step, attempt, job, worker, started_at, finished_at,
                               outcome)
SELECT 'old-' || n, md5(n::text), step, 1, 'nothing', 'worker', now(), now(), 'done'
  FROM generate_series(1, $1::integer) AS n, generate_series(0, 2) AS step
""",
)


async def fill(url: str, rows: int) -> None:
    """Write so many finished programs, with three attempts each, and let autovacuum be done."""
    connection = await asyncpg.connect(url)
    try:
        for statement in FILL:
            await connection.execute(statement, rows, timeout=None)
        await connection.execute("VACUUM ANALYZE programs, programs_attempts")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
