"""Asking: what tests submit to a real service, and what they read of it, in plain SQL."""

import asyncio
from collections.abc import Iterable
from typing import Any

import asyncpg
import sqlalchemy as sa

from patience import eventually
from processes import Deployment, Json, Process

Row = dict[str, Any]

CONNECT_TIMEOUT_S = 10
END_WITHIN_S = 60.0
LOOK_EVERY_S = 0.2
MAX_BATCH = 1_000


async def submit(service: Process, *jobs: str, **fields: Any) -> str:
    """Submit a program and return its run_id."""
    answer = await service.client.post("/programs", json={"jobs": jobs, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["run_id"])


async def submit_many(service: Process, programs: Iterable[Json]) -> list[str]:
    """Submit programs in one request and return their run_ids, in the same order."""
    answer = await service.client.post("/programs/batch", json={"programs": list(programs)})
    assert answer.status_code == 201, answer.text
    return [program["run_id"] for program in answer.json()["programs"]]


async def select(deployment: Deployment, query: str, *values: Any) -> list[Row]:
    """Read from the tables; `{programs}` and `{attempts}` stand for their names."""
    names = {"programs": deployment.table_name, "attempts": f"{deployment.table_name}_attempts"}
    url = sa.make_url(deployment.database_url).set(drivername="postgresql")
    dsn = url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    try:
        return [dict(row) for row in await connection.fetch(query.format(**names), *values)]
    finally:
        await connection.close()


async def row_of(deployment: Deployment, run_id: str) -> Row:
    """Return all columns of a program's row."""
    (row,) = await select(deployment, "SELECT * FROM {programs} WHERE run_id = $1", run_id)
    return row


async def rows(deployment: Deployment) -> dict[str, Row]:
    """Return {run_id: all columns of its row}."""
    return {row["run_id"]: row for row in await select(deployment, "SELECT * FROM {programs}")}


async def attempts(deployment: Deployment) -> list[Row]:
    """Return every try of every step, in the order in which they were written down."""
    return await select(deployment, "SELECT * FROM {attempts} ORDER BY finished_at")


async def all_ended(deployment: Deployment, *, within_s: float = END_WITHIN_S) -> dict[str, Row]:
    """Wait until no program of the table is left to be run, and return {run_id: row}."""
    query = (
        "SELECT count(*) AS open FROM {programs} WHERE finished_at IS NULL AND errored_at IS NULL"
    )

    async def nothing_is_left() -> bool:
        for process in deployment.processes:
            process.look_alive()
        await asyncio.sleep(LOOK_EVERY_S)
        (counted,) = await select(deployment, query)
        return bool(counted["open"] == 0)

    await eventually(nothing_is_left, within_s=within_s)
    return await rows(deployment)


async def all_finished(deployment: Deployment, *, within_s: float = END_WITHIN_S) -> None:
    """Wait until every program of the table has ended; all must have finished."""
    for row in (await all_ended(deployment, within_s=within_s)).values():
        assert row["finished_at"] is not None, row["error_message"]
