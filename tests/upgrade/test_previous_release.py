"""Upgrades without a pause: the last release goes on working with the tables of this one.

In the order of docs/upgrading.md, with PostgreSQL and RabbitMQ.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from asking import all_ended, all_finished, attempts, select, submit_many
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from endpoint_server import Call, EndpointServer, Reply, endpoint
from journal import Entry, Journal
from killing import Killer
from patience import eventually
from processes import Deployment, Launch, Process
from releases import NoReleaseError, previous_release
from verdict import verdict_on

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MODULES = ("jobs_file", "jobs_chaos")
COUNT = 20

EVERY_TRY = [
    *((0, 1, "retry"), (0, 2, "done")),
    (1, 1, "done"),
    *((2, 1, "retry"), (2, 2, "done")),
]
"""(step, attempt, outcome) of a program that stumbles, waits, and stumbles."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Install the last release."""
    try:
        return previous_release(tmp_path_factory.mktemp("release"))
    except NoReleaseError as error:
        pytest.skip(str(error))


@pytest.fixture
def old(deployment: Deployment, release: Launch) -> Deployment:
    """Return the deployment as the last release has it: the same tables, queues and journal."""
    return replace(deployment, launch=release)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Return a file that programs wait for, so that steps run across everything that happens."""
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


async def revision(deployment: Deployment) -> str:
    """Return the newest migration of the tables."""
    (row,) = await select(deployment, "SELECT version_num FROM {programs}_version")
    return str(row["version_num"])


async def submit_some(service: Process, gate: Path) -> list[str]:
    """Submit programs whose second step waits for the gate."""
    program = {"jobs": ["stumble", "wait", "stumble"], "program_data": {"gate": str(gate)}}
    return await submit_many(service, [program] * COUNT)


async def until_waiting(deployment: Deployment, count: int) -> None:
    """Wait until so many programs run their second step."""

    async def are_waiting() -> bool:
        for process in deployment.processes:
            process.look_alive()
        begun = Journal(deployment.journal).begins()
        return len({entry.run_id for entry in begun if entry.step == 1}) == count

    await eventually(are_waiting, within_s=60)


async def require_every_try_once(deployment: Deployment, run_ids: list[str]) -> None:
    """No step begun out of order or again without a reason, and each try recorded once."""
    journal = Journal(deployment.journal)
    assert journal.out_of_order() == []
    recorded = defaultdict(list)
    for row in await attempts(deployment):
        recorded[row["run_id"]].append((row["step"], row["attempt"], row["outcome"]))
    assert {run_id: sorted(tries) for run_id, tries in recorded.items()} == dict.fromkeys(
        run_ids, EVERY_TRY
    )
    begun = sorted((entry.run_id, entry.step, entry.attempt) for entry in journal.begins())
    assert begun == sorted(
        (run_id, step, attempt) for run_id in run_ids for step, attempt, _ in EVERY_TRY
    )


async def test_both_releases_work_together_on_the_new_tables(
    deployment: Deployment, old: Deployment, gate: Path
) -> None:
    """Tables first, then service and workers, one by one; nothing stops meanwhile."""
    old_service = await old.serve()
    # no room for all of them: some are for the worker that comes later
    old_worker = await old.work(modules=MODULES, concurrency=2 * COUNT + 5)
    before = await revision(deployment)
    run_ids = await submit_some(old_service, gate)
    await until_waiting(deployment, COUNT)
    await deployment.migrate()
    assert await revision(deployment) > before
    run_ids += await submit_some(old_service, gate)
    await until_waiting(deployment, 2 * COUNT)
    service, worker = await asyncio.gather(
        deployment.serve(migrate_on_start=False), deployment.work(modules=MODULES)
    )
    run_ids += await submit_some(old_service, gate)
    run_ids += await submit_some(service, gate)
    await until_waiting(deployment, 4 * COUNT)
    gate.touch()
    await all_finished(deployment)
    await require_every_try_once(deployment, run_ids)
    workers = {entry.worker for entry in Journal(deployment.journal).begins()}
    assert workers == {old_worker.name, worker.name}
    assert (await old_service.client.get("/readyz")).json()["checks"]["migrations"] == "ok"
    assert await old_worker.stop() == 0
    assert await old_service.stop() == 0


async def test_who_went_back_to_the_old_release_loses_nothing(
    deployment: Deployment, old: Deployment, gate: Path
) -> None:
    """A rollback: the old code starts on the new tables, which stay as they are."""
    service, worker = await asyncio.gather(
        deployment.serve(), deployment.work(modules=MODULES, grace_s=0.2)
    )
    newest = await revision(deployment)
    run_ids = await submit_some(service, gate)
    await until_waiting(deployment, COUNT)
    # that commit refuses to migrate tables that are newer; from the first release on, none does
    old_service, old_worker = await asyncio.gather(
        old.serve(migrate_on_start=False), old.work(modules=MODULES)
    )
    assert await revision(deployment) == newest
    await worker.stop()
    await service.stop()
    run_ids += await submit_some(old_service, gate)
    gate.touch()
    await all_finished(deployment)
    assert Journal(deployment.journal).out_of_order() == []
    tries = await attempts(deployment)
    done = [(row["run_id"], row["step"]) for row in tries if row["outcome"] == "done"]
    assert sorted(done) == sorted((run_id, step) for run_id in run_ids for step in range(3))
    assert old_worker.is_alive


async def test_each_release_takes_over_from_workers_of_the_other_that_died(
    deployment: Deployment, old: Deployment
) -> None:
    """Invariants 3, 4 and 5, across releases."""
    deployment.settings |= {"lease_s": 5.0, "concurrency": 8}
    old_service, old_worker = await asyncio.gather(old.serve(), old.work())
    service, worker = await asyncio.gather(deployment.serve(), deployment.work())
    killer = Killer(deployment, {each.name: each for each in (old_worker, worker)})
    old_ones, new_ones = {old_worker.name}, {worker.name}
    for _ in range(2):
        await killer.submit(service, COUNT)
        new_ones |= await replaced(killer, old_ones, by=deployment)
        await killer.submit(old_service, COUNT)
        old_ones |= await replaced(killer, new_ones, by=old)
    await all_ended(deployment, within_s=300)
    verdict = await verdict_on(deployment)
    assert min(killer.hit) >= 1
    assert len(verdict.rows) == killer.programs == 4 * COUNT
    verdict.require_order()
    verdict.require_ends()
    verdict.require_worker_lost_exactly()


async def test_links_that_the_old_release_gave_out_are_good_after_the_upgrade(
    deployment: Deployment, old: Deployment
) -> None:
    """Invariant 14, across releases: only the key of the job has signed their tokens."""

    async def accept(_call: Call) -> Reply:
        return Reply(202)

    allowed = {"callback_allow": "127.0.0.0/8"}
    old_service = await old.serve(**allowed)
    await deployment.migrate()
    service = await deployment.serve(migrate_on_start=False, **allowed)
    async with endpoint(accept) as server:
        registered = await old_service.client.put("/jobs/charge", json={"url": server.url})
        assert registered.status_code == 201, registered.text
        for times, release in enumerate((old, deployment), start=1):
            worker = await release.work(**allowed)
            await submit_many(service, [{"jobs": ["charge", "charge"]}])
            await eventually(partial(_is_called, server, times))
            assert await worker.stop() == 0
    for call in server.calls:
        path = call.json["links"]["complete"].partition("/callbacks/")[2]
        for link in ("heartbeat", "complete"):
            answer = await service.client.post(
                f"/callbacks/{path.removesuffix('complete')}{link}", json={}
            )
            assert answer.status_code == 200, answer.text


async def _is_called(server: EndpointServer, times: int) -> bool:
    return len(server.calls) == times


async def replaced(killer: Killer, victims: set[str], *, by: Deployment) -> set[str]:
    """Kill one of these workers while it runs steps; return the name of the one that follows."""

    def one_of_them(alive: Mapping[str, list[Entry]], _journal: Journal) -> str | None:
        return next((name for name in sorted(alive) if name in victims), None)

    before = set(killer.workers)
    killer.deployment = by
    await killer.kill_one(one_of_them)
    return set(killer.workers) - before
