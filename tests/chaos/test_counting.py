"""Counting: what database steps do happens exactly once, whatever dies.

Acceptance item 3 of the proof under faults; the numbers are printed (`pytest -s`, or -rP).
"""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from asking import all_ended, rows, select
from killing import Massacre, massacre
from private_postgres import PrivatePostgres
from processes import Deployment, Process
from verdict import verdict_on

TAIL_S = 600.0
COUNTER = "CREATE TABLE counter (number integer); INSERT INTO counter VALUES (0)"


async def resume_all(deployment: Deployment, service: Process) -> Sequence[str]:
    """Resume the programs whose workers died too often, until none is left; return their ids."""
    resumed: list[str] = []
    while True:
        await all_ended(deployment, within_s=TAIL_S)
        found = await rows(deployment)
        errored = [run_id for run_id, row in found.items() if row["errored_at"] is not None]
        if not errored:
            return resumed
        for run_id in errored:
            assert found[run_id]["error_message"].startswith("worker_lost")
            answer = await service.client.post(f"/programs/{run_id}/resume", json={})
            assert answer.status_code == 200, answer.text
        resumed += errored


@pytest.mark.parametrize(
    ("programs", "kills"),
    [
        pytest.param(200, 6, id="short"),
        pytest.param(2_000, 30, id="long", marks=pytest.mark.timeout(1_800)),
    ],
)
@pytest.mark.timeout(600)
async def test_each_program_adds_one_while_workers_and_the_database_die(
    deployment: Deployment, postgres: PrivatePostgres, programs: int, kills: int
) -> None:
    """Acceptance 3; invariant 5, without its "more than once"."""
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute(f"DROP TABLE IF EXISTS counter; {COUNTER}")
    await connection.close()
    deployment.settings |= {"lease_s": 5, "concurrency": 8}

    async def kill_the_database() -> None:
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)

    between = {kills // 3: kill_the_database, 2 * kills // 3: kill_the_database}
    plan = Massacre(programs, kills, between, jobs=("tick", "count", "tick"), is_cruel=False)
    service = await deployment.serve()
    killer = await massacre(deployment, service, plan)
    resumed = await resume_all(deployment, service)
    (counter,) = await select(deployment, "SELECT number FROM counter")
    verdict = await verdict_on(deployment)
    counted_twice = sum(1 for first, _ in verdict.journal.begun_again() if first.step == 1)
    print(
        f"\n{killer.programs} programs, the counter stands at {counter['number']};"
        f" {len(killer.hit)} kills hit {sum(killer.hit)} running steps, the database died twice;"
        f" {counted_twice} counting steps were begun again, {len(resumed)} programs resumed"
    )
    assert len(killer.hit) == kills
    assert min(killer.hit) >= 1
    assert counted_twice > 0
    assert counter["number"] == killer.programs >= programs
    assert {row["finished_at"] is not None for row in verdict.rows.values()} == {True}
