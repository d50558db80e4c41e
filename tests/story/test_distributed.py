"""Distributed: a service and workers as processes of their own, over RabbitMQ and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asking import all_ended, all_finished, attempts, row_of, rows, select, submit, submit_many
from brokers import Console
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from endpoint_server import Call, Reply, endpoint
from journal import Journal
from patience import eventually
from processes import Deployment, Process
from wakeups import until_deep

SHORT = {"seconds": 0.05}


async def until_woken(deployment: Deployment, count: int) -> None:
    """Wait until wake-ups were sent for so many programs that nobody has claimed."""

    async def are_woken() -> bool:
        woken = "SELECT count(*) FROM {programs} WHERE woken_at IS NOT NULL AND lease IS NULL"
        return bool((await select(deployment, woken))[0]["count"] == count)

    await eventually(are_woken)


async def until_running(deployment: Deployment, *run_ids: str) -> None:
    """Wait until these programs have begun a step, by what their jobs wrote down."""

    async def are_running() -> bool:
        return set(run_ids) <= {entry.run_id for entry in Journal(deployment.journal).begins()}

    await eventually(are_running)


async def test_programs_finish_on_both_workers(deployment: Deployment) -> None:
    """Invariants 3 and 4: nothing is done twice where nothing goes wrong."""
    service, first, second = await asyncio.gather(
        deployment.serve(), deployment.work(concurrency=5), deployment.work(concurrency=5)
    )
    run_ids = await submit_many(
        service, [{"jobs": ["tick"] * 3, "program_data": {"seconds": 0.1}}] * 60
    )
    await all_finished(deployment)
    journal = Journal(deployment.journal)
    assert sorted(entry.of for entry in journal.begins()) == sorted(
        (run_id, step) for run_id in run_ids for step in range(3)
    )
    assert not journal.out_of_order()
    assert {entry.worker for entry in journal.begins()} == {first.name, second.name}
    assert {row["outcome"] for row in await attempts(deployment)} == {"done"}


async def test_worker_without_modules_calls_endpoints(deployment: Deployment) -> None:
    async def charge(_call: Call) -> Reply:
        return Reply(200, {"job_data": {"receipt": 7}})

    deployment.settings["callback_allow"] = "127.0.0.0/8"
    async with endpoint(charge) as server:
        service, _ = await asyncio.gather(deployment.serve(), deployment.work(modules=[]))
        await service.client.put("/jobs/charge", json={"url": server.url})
        await submit(service, "charge")
        await all_finished(deployment)
        assert len(server.calls) == 1


@pytest.mark.long
async def test_purged_and_deleted_queues_cost_time_only(
    deployment: Deployment, console: Console
) -> None:
    """Invariant 2, rule R6: woken, claimed by nobody, and the queue is empty or gone."""
    service, _ = await asyncio.gather(deployment.serve(), deployment.work(concurrency=1))
    for lose in (console.purge, console.delete):
        blocking = await submit(service, "tick", program_data={"seconds": 1})
        await until_running(deployment, blocking)
        await submit_many(service, [{"jobs": ["tick", "tick"], "program_data": SHORT}] * 40)
        await until_woken(deployment, 40)
        await lose("default")
        await all_finished(deployment)
    journal = Journal(deployment.journal)
    assert not journal.begun_again()
    assert not journal.out_of_order()


@pytest.mark.long
async def test_wakeup_that_was_lost_from_a_long_queue_is_sent_again_while_it_is_long(
    deployment: Deployment, console: Console, tmp_path: Path
) -> None:
    """Rule R6: it is found by order, for later wake-ups of its queue were claimed."""
    gate = tmp_path / "gate"
    service, _ = await asyncio.gather(deployment.serve(), deployment.work(concurrency=1))
    blocking = await submit(service, "wait", program_data={"gate": str(gate)})
    await until_running(deployment, blocking)
    lost = await submit_many(service, [{"jobs": ["tick"], "program_data": SHORT}] * 32)
    await until_woken(deployment, 32)
    # the worker is full: what it had received is in the queue again
    await until_deep(console, "default", 1)
    assert await console.get("default")
    marked = {run_id: row["woken_at"] for run_id, row in (await rows(deployment)).items()}
    await submit_many(service, [{"jobs": ["tick"], "program_data": SHORT}] * 192)
    gate.touch()

    async def are_woken_again() -> bool:
        seen = await rows(deployment)
        return all(seen[run_id]["woken_at"] != marked[run_id] for run_id in lost)

    await eventually(are_woken_again)
    assert (await console.depth("default") or 0) > 1
    await all_finished(deployment, within_s=120)
    assert not Journal(deployment.journal).begun_again()


async def test_workers_of_different_jobs_and_queues_hand_programs_to_each_other(
    deployment: Deployment,
) -> None:
    """Rule R13; invariant 10: also when the second worker starts later."""
    service, shop = await asyncio.gather(deployment.serve(unknown_jobs="accept"), deployment.work())
    early = [await submit(service, "tick", "mail", "tick", program_data=SHORT) for _ in range(3)]
    waiting = "SELECT run_id FROM {programs} WHERE step = 1 AND lease IS NULL"

    async def all_wait() -> bool:
        return len(await select(deployment, waiting)) == 3

    await eventually(all_wait)
    post = await deployment.work(modules=["jobs_mail"], queues="mail")
    late = [await submit(service, "mail", "tick", "mail", program_data=SHORT) for _ in range(3)]
    await all_finished(deployment)
    worked = {entry.of: entry.worker for entry in Journal(deployment.journal).begins()}
    for run_id in early:
        assert [worked[run_id, step] for step in range(3)] == [shop.name, post.name, shop.name]
    for run_id in late:
        assert [worked[run_id, step] for step in range(3)] == [post.name, shop.name, post.name]


@pytest.mark.long
async def test_rolling_deploy_with_new_jobs_in_the_same_queue_finishes_everything(
    deployment: Deployment,
) -> None:
    """Rule R13: an old worker hands back what only a new one knows."""
    service = await deployment.serve(unknown_jobs="accept")
    old, new = await asyncio.gather(
        deployment.work(), deployment.work(modules=["jobs_file", "jobs_late"])
    )
    await submit_many(service, [{"jobs": ["late", "tick"], "program_data": SHORT}] * 40)
    await all_finished(deployment)
    by_job = {(row["job"], row["worker"]) for row in await attempts(deployment)}
    assert {worker for job, worker in by_job if job == "late"} == {new.name}
    assert old.is_alive


async def received(*workers: Process) -> float:
    """Count the wake-ups that these workers have received."""
    return sum([await worker.count("wakeups_received") for worker in workers])


@pytest.mark.long
async def test_programs_that_nobody_can_run_stay_pending_and_keep_nobody_busy(
    deployment: Deployment,
) -> None:
    """Rule R5, invariant 10."""
    service, first, second = await asyncio.gather(
        deployment.serve(unknown_jobs="accept"), deployment.work(), deployment.work()
    )
    nobody = await submit_many(service, [{"jobs": ["tick", "sign"], "program_data": SHORT}] * 50)
    sign = [await submit(service, "sign") for _ in range(10)]

    async def have_arrived() -> bool:
        return all(row["job"] == "sign" for row in (await rows(deployment)).values())

    await eventually(have_arrived)
    await asyncio.sleep(2)  # for what was still on its way
    before = await received(first, second)
    await asyncio.sleep(4)
    # 60 programs, swept 13 times meanwhile, suspected to be lost twice
    assert await received(first, second) - before == 0
    for run_id in (*nobody, *sign):
        row = await row_of(deployment, run_id)
        assert (row["errored_at"], row["finished_at"], row["lease"]) == (None, None, None)
    explained = (await service.client.get(f"/programs/{sign[0]}/explain")).json()
    assert explained["reason"] == "no_worker_knows_the_job"
    # the workers are not tired of it
    await submit(service, "tick", program_data=SHORT)
    await eventually(lambda: finished(deployment, 1))


async def finished(deployment: Deployment, count: int) -> bool:
    """Say whether so many programs have finished."""
    query = "SELECT count(*) FROM {programs} WHERE finished_at IS NOT NULL"
    return bool((await select(deployment, query))[0]["count"] == count)


async def sweep_soon(deployment: Deployment, services: list[Process], *, woken: int) -> float:
    """Let programs fall due that no relay wakes for; return how many wake-ups were sent."""
    start_at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    before = [await service.count("wakeups_published") for service in services]
    await submit_many(services[0], [{"jobs": ["tick"], "start_at": start_at}] * 320)
    await until_woken(deployment, woken)
    after = [await service.count("wakeups_published") for service in services]
    return sum(after) - sum(before)


@pytest.mark.long
async def test_services_sweep_one_at_a_time_and_each_can(deployment: Deployment) -> None:
    """Rule R5: an advisory lock; without it every process would wake for every program."""
    *services, _ = await asyncio.gather(
        deployment.serve(), deployment.serve(), deployment.work(queues="elsewhere")
    )
    assert await sweep_soon(deployment, services, woken=320) == 320 / 32
    await services[0].kill()
    assert await sweep_soon(deployment, services[1:], woken=640) == 320 / 32


async def test_everything_survives_the_death_of_the_service(deployment: Deployment) -> None:
    """Invariant 1: what was answered with 201 is not lost, though nobody was woken for it."""
    service, _ = await asyncio.gather(deployment.serve(), deployment.work())
    sent = asyncio.gather(
        *[submit(service, "tick", program_data=SHORT) for _ in range(200)], return_exceptions=True
    )
    await until_running(deployment)
    await asyncio.sleep(0.2)
    await service.kill()
    accepted = {run_id for run_id in await sent if isinstance(run_id, str)}
    await deployment.serve()
    ended = await all_ended(deployment)
    assert accepted <= ended.keys()
    assert all(row["finished_at"] for row in ended.values())
    assert not Journal(deployment.journal).begun_again()
