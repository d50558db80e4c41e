"""Distributed, and stopped: cancels that cross processes, signals, and a broker that is away."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from asking import all_ended, all_finished, attempts, row_of, submit, submit_many
from brokers import Console, a_queue_name
from deployments import console as console
from deployments import deployed, node_or_skip
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from journal import Journal
from patience import eventually
from processes import Deployment, Process

SHORT = {"seconds": 0.05}
ENDLESS = {"seconds": 3_600}


async def running(deployment: Deployment, service: Process, job: str, **data: float) -> str:
    """Submit a program and wait until its job has begun."""
    run_id = await submit(service, job, program_data=data or ENDLESS)

    async def has_begun() -> bool:
        return bool(Journal(deployment.journal).begins(run_id))

    await eventually(has_begun)
    return run_id


async def test_cancel_reaches_the_worker_that_runs_the_program(deployment: Deployment) -> None:
    """Rule R14: by a message, long before the lease would be renewed."""
    service, *workers = await asyncio.gather(
        deployment.serve(), *[deployment.work(lease_s=3_600) for _ in range(2)]
    )
    run_ids = [await running(deployment, service, "tick") for _ in range(4)]
    for run_id in run_ids:
        answer = await service.client.post(f"/programs/{run_id}/cancel")
        assert answer.json()["status"] == "cancelled"

    async def are_stopped() -> bool:
        stopped = [each for each in Journal(deployment.journal).entries if each.what == "stopped"]
        return {each.run_id for each in stopped} == set(run_ids)

    await eventually(are_stopped)

    async def are_let_go() -> bool:
        rows = [await row_of(deployment, run_id) for run_id in run_ids]
        return all(row["lease"] is None for row in rows)

    await eventually(are_let_go)
    assert [await worker.stop() for worker in workers] == [0, 0]


async def test_who_waits_is_answered_by_a_service_that_stops(deployment: Deployment) -> None:
    """Nobody is sent away with an error: clients ask again, and others answer."""
    service = await deployment.serve(unknown_jobs="accept")
    run_id = await submit(service, "tick")
    path = f"/programs/{run_id}"
    requests = [
        asyncio.create_task(service.client.get(path, headers={"Prefer": "wait=50"})),
        asyncio.create_task(service.client.get(f"{path}/events")),
        asyncio.create_task(service.client.get("/ui/feed")),
        asyncio.create_task(service.client.get(f"/ui{path}/feed")),
    ]
    _, waiting = await asyncio.wait(requests, timeout=1)
    assert len(waiting) == len(requests)
    assert await service.stop() == 0
    held, heard, *feeds = await asyncio.gather(*requests)
    assert (held.status_code, held.json()["status"]) == (200, "pending")
    assert (heard.status_code, heard.text.count("event: program")) == (200, 1)
    assert [feed.status_code for feed in feeds] == [200, 200]
    assert "Traceback" not in service.log
    # the server waits that long for streams that do not end
    assert "graceful shutdown exceeded" not in service.log


async def test_first_signal_drains_and_the_second_releases(deployment: Deployment) -> None:
    """Invariant 9; exit codes 0 and 3 tell which it was."""
    service, patient, hasty = await asyncio.gather(
        deployment.serve(), deployment.work(grace_s=60), deployment.work(grace_s=3_600)
    )
    short = [await running(deployment, service, "tick", seconds=2) for _ in range(6)]
    assert await patient.stop() == 0
    assert "worker.stopped" in patient.log
    await all_finished(deployment)
    held = [await running(deployment, service, "tick") for _ in range(3)]
    hasty.signal(signal.SIGTERM)

    async def is_quiet() -> bool:
        return "worker.quiet" in hasty.log

    await eventually(is_quiet)
    assert (await hasty.client.get("/readyz")).status_code == 503
    assert (await hasty.client.get("/livez")).status_code == 200
    assert await hasty.stop() == 3
    for run_id in held:
        row = await row_of(deployment, run_id)
        assert (row["lease"], row["claimed_by"], row["finished_at"]) == (None, None, None)
        assert (row["step_retry_count"], row["lease_losses"]) == (0, 0)
    outcomes = {each["run_id"]: each["outcome"] for each in await attempts(deployment)}
    assert outcomes == dict.fromkeys(short, "done") | dict.fromkeys(held, "released")


@pytest.mark.long
async def test_thread_that_does_not_end_ends_with_its_process(deployment: Deployment) -> None:
    """Invariant 13, rule R12: exit code 4; nothing of it is recorded, and another runs it after."""
    service, deaf = await asyncio.gather(deployment.serve(), deployment.work(grace_s=0.2))
    run_id = await running(deployment, service, "tock", seconds=6)
    assert await deaf.stop() == 4
    row = await row_of(deployment, run_id)
    assert (row["lease"], row["step_retry_count"], row["lease_losses"]) == (None, 0, 0)
    assert not Journal(deployment.journal).ends(run_id)
    other = await deployment.work()

    async def has_begun_again() -> bool:
        return len(Journal(deployment.journal).begins(run_id)) == 2

    await eventually(has_begun_again)
    first, second = Journal(deployment.journal).begins(run_id)
    assert (first.attempt, second.attempt) == (1, 1)
    assert (first.worker, second.worker) == (deaf.name, other.name)
    assert [each["outcome"] for each in await attempts(deployment)] == ["released"]


async def test_children_of_a_fleet_are_brought_back_and_stopped_with_it(
    deployment: Deployment,
) -> None:
    service = await deployment.serve()
    fleet = deployment.start_work(
        modules=["jobs_file", "--processes", "2"], lease_s=2, concurrency=5
    )
    await eventually(lambda: has_two_children(fleet))
    await fleet.ready()
    programs = {"jobs": ["tick"] * 2, "program_data": {"seconds": 0.2}}
    run_ids = await submit_many(service, [programs] * 60)
    os.kill(children_of(fleet)[0], signal.SIGKILL)
    await all_finished(deployment)
    await eventually(lambda: has_two_children(fleet))
    ends = {entry.run_id for entry in Journal(deployment.journal).ends()}
    assert ends == set(run_ids)
    assert await fleet.stop() == 0


@pytest.mark.long
async def test_children_of_a_fleet_that_was_killed_drain_and_end(deployment: Deployment) -> None:
    """Their ports are free again for the fleet that comes after it."""
    service = await deployment.serve()
    fleet = deployment.start_work(modules=["jobs_file", "--processes", "2"])
    await eventually(lambda: has_two_children(fleet))
    await fleet.ready()
    children = children_of(fleet)
    run_ids = [await running(deployment, service, "tick", seconds=2) for _ in range(4)]
    await fleet.kill()

    async def have_ended() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in children)

    try:
        await eventually(have_ended, within_s=60)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    ended = Journal(deployment.journal).ends()
    assert {entry.run_id for entry in ended} == set(run_ids)
    assert {row["outcome"] for row in await attempts(deployment)} == {"done"}


def children_of(process: Process) -> list[int]:
    """Return the pids of a process's children, also of one that nobody has buried yet."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in text.split()]


async def has_two_children(process: Process) -> bool:
    """Say whether both children of a fleet are there."""
    return len(children_of(process)) == 2


async def test_programs_are_accepted_without_a_broker_and_run_when_it_is_back(
    postgresql_url: str, tmp_path: Path
) -> None:
    """Invariant 2."""
    with node_or_skip() as node:
        console = Console(node.url, a_queue_name())
        async with deployed(tmp_path, postgresql_url, console) as deployment:
            service, *_ = await asyncio.gather(
                deployment.serve(), deployment.work(), deployment.work()
            )
            await submit(service, "tick", program_data=SHORT)
            await all_finished(deployment)
            await asyncio.to_thread(node.stop)
            for _ in range(20):
                await submit(service, "tick", "tick", program_data=SHORT)
            ready = await service.client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            await deployment.work()  # a worker that starts now waits for the broker, too
            await asyncio.to_thread(node.start)
            await all_finished(deployment)
            assert not Journal(deployment.journal).begun_again()
            assert len(await all_ended(deployment)) == 21
