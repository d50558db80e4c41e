"""Stalls: a worker that stands still loses its leases, and finds out before it does harm."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from asking import all_finished, attempts, submit, submit_many
from journal import Journal
from patience import eventually
from processes import Deployment, Process

LEASE_S = 3.0


async def running_on(deployment: Deployment, worker: Process, count: int) -> None:
    """Wait until a worker runs so many steps."""

    async def are_running() -> bool:
        running = Journal(deployment.journal).running()
        return len(running.get(worker.name, [])) >= count

    await eventually(are_running, within_s=60)


async def require_each_step_recorded_once(deployment: Deployment) -> None:
    """Whatever was written down twice, it was recorded once, by the holder of the lease."""
    written = await attempts(deployment)
    done = Counter((each["run_id"], each["step"]) for each in written if each["outcome"] == "done")
    assert set(done.values()) == {1}
    journal = Journal(deployment.journal)
    assert done.keys() == {entry.of for entry in journal.ends()}
    recorded = {(e["run_id"], e["step"], e["worker"]) for e in written if e["outcome"] == "done"}
    assert recorded <= {(entry.run_id, entry.step, entry.worker) for entry in journal.ends()}


@pytest.mark.timeout(300)
async def test_worker_that_was_frozen_records_nothing_and_starts_nothing_of_what_it_lost(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Invariants 3 and 4, rules R2, R3 and R7: its leases ended while it stood still."""
    deployment.settings |= {"lease_s": LEASE_S, "concurrency": 10}
    service, frozen = await asyncio.gather(deployment.serve(), deployment.work())
    gate = tmp_path / "gate"
    data = {"seconds": 0.1, "gate": str(gate)}
    programs = {"jobs": ["wait", "tick", "tick"], "program_data": data}
    run_ids = await submit_many(service, [programs] * 10)
    await running_on(deployment, frozen, 10)
    other = await deployment.work()
    frozen.signal(signal.SIGSTOP)
    await running_on(deployment, other, 1)
    gate.touch()  # its steps would end, too, when it goes on
    frozen.signal(signal.SIGCONT)
    await all_finished(deployment, within_s=120)
    journal = Journal(deployment.journal)
    taken_over = {entry.run_id for entry in journal.begins() if entry.worker == other.name}
    assert taken_over <= set(run_ids)
    assert taken_over
    again = {first.of for first, _ in journal.begun_again()}
    given_up = {
        # by another worker that claimed it, or by the frozen one when it found out
        outcome: {
            (each["run_id"], each["step"])
            for each in await attempts(deployment)
            if each["outcome"] == outcome
        }
        for outcome in ("lost", "released")
    }
    print(f"\n{len(again)} steps begun again; { {k: len(v) for k, v in given_up.items()} }")
    assert again <= given_up["lost"] | given_up["released"]
    assert given_up["lost"]
    assert not journal.out_of_order()
    await require_each_step_recorded_once(deployment)


@pytest.mark.timeout(300)
async def test_job_that_blocks_its_worker_costs_the_neighbours_a_lease_at_most(
    deployment: Deployment,
) -> None:
    """Invariant 3, rule R3: renewal stands still with the event loop; another takes over."""
    deployment.settings |= {"lease_s": LEASE_S, "concurrency": 10}
    service, blocked = await asyncio.gather(deployment.serve(), deployment.work())
    neighbours = [
        await submit(service, "tick", "tick", program_data={"seconds": 2}) for _ in range(5)
    ]
    await running_on(deployment, blocked, 5)
    other = await deployment.work()
    # the other one is full, so that the careless job goes to the first
    await submit(service, "block", program_data={"seconds": 3 * LEASE_S})
    await all_finished(deployment, within_s=120)
    journal = Journal(deployment.journal)
    assert not journal.out_of_order()
    await require_each_step_recorded_once(deployment)
    losses = Counter(
        each["run_id"] for each in await attempts(deployment) if each["outcome"] == "lost"
    )
    print(f"\nleases lost: {sum(losses.values())}, of neighbours {len(losses.keys() & neighbours)}")
    assert max(losses.values(), default=0) <= 1
    assert {entry.worker for entry in journal.ends()} <= {blocked.name, other.name}
