"""Kills: workers die by `kill -9` while they run steps, and nothing is lost or done out of turn.

Acceptance items 1 and 2 of the distributed engine; the numbers are printed (`pytest -s`, or -rP).
"""

import asyncio

import pytest

from asking import all_ended, row_of, submit, submit_many
from brokers import Console
from journal import Journal
from killing import Killer, Massacre, massacre, runner_of
from private_rabbitmq import PrivateRabbit
from processes import Deployment
from verdict import verdict_on

LEASE_S = 5.0
"""Short, so that the dead are missed soon; longer than any stall of a busy machine."""

TAIL_S = 600.0
"""For what the last kills left behind: suspects run one at a time on each worker (rule R11)."""


async def judge(deployment: Deployment, killer: Killer, plan: Massacre) -> None:
    """Wait until all has ended, print the numbers and hold them against the rules."""
    await all_ended(deployment, within_s=TAIL_S)
    verdict = await verdict_on(deployment)
    print(f"\n{len(killer.hit)} kills hit {sum(killer.hit)} running steps; {verdict.summary()}")
    assert len(killer.hit) == plan.kills
    assert min(killer.hit) >= 1
    assert len(verdict.rows) == killer.programs >= plan.programs
    verdict.require_order()
    verdict.require_ends()
    verdict.require_worker_lost_exactly()
    again = verdict.journal.begun_again()
    # each of them was running, or its end not committed, when its worker died
    assert len(again) <= sum(verdict.deaths.values())


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Massacre(programs=200, kills=6), id="short"),
        pytest.param(
            Massacre(programs=1_000, kills=30),
            id="long",
            marks=[pytest.mark.long, pytest.mark.timeout(1_800)],
        ),
    ],
)
@pytest.mark.timeout(900)
async def test_programs_end_as_they_must_while_their_workers_are_killed(
    deployment: Deployment, plan: Massacre
) -> None:
    """Acceptance 1; invariants 1, 3, 4, 5 and 8."""
    deployment.settings |= {"lease_s": LEASE_S, "concurrency": 8}
    service = await deployment.serve()
    killer = await massacre(deployment, service, plan)
    await judge(deployment, killer, plan)


@pytest.mark.parametrize(
    ("programs", "kills"),
    [
        pytest.param(200, 6, id="short", marks=pytest.mark.long),
        pytest.param(1_000, 30, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1_800)]),
    ],
)
@pytest.mark.timeout(900)
async def test_programs_end_also_when_the_queue_and_the_broker_are_lost_meanwhile(
    deployment: Deployment, console: Console, node: PrivateRabbit, programs: int, kills: int
) -> None:
    """Acceptance 2; invariant 2."""
    deployment.settings |= {"lease_s": LEASE_S, "concurrency": 8}

    async def lose_the_queue() -> None:
        await console.delete("default")

    async def lose_the_broker() -> None:
        await asyncio.to_thread(node.kill)
        node.wipe()
        await asyncio.to_thread(node.start)

    plan = Massacre(programs, kills, {kills // 3: lose_the_queue, 2 * kills // 3: lose_the_broker})
    service = await deployment.serve()
    killer = await massacre(deployment, service, plan)
    await judge(deployment, killer, plan)


@pytest.mark.timeout(300)
async def test_step_whose_worker_died_three_times_ends_its_program_and_no_other(
    deployment: Deployment,
) -> None:
    """Invariant 8, rule R11: a poison job must not kill the fleet one worker at a time."""
    deployment.settings |= {"lease_s": 3, "concurrency": 20}
    service, *workers = await asyncio.gather(
        deployment.serve(), deployment.work(), deployment.work()
    )
    killer = Killer(deployment, {worker.name: worker for worker in workers})
    poison = await submit(service, "tick", program_data={"seconds": 3_600})
    twice = await submit(service, "tick", program_data={"seconds": 1})
    neighbours = {"jobs": ["tick"] * 3, "program_data": {"seconds": 0.3}}
    await submit_many(service, [neighbours] * 60)
    for _ in range(3):
        await killer.kill_one(runner_of(poison))
    await all_ended(deployment, within_s=TAIL_S)
    verdict = await verdict_on(deployment)
    assert list(verdict.worker_lost) == [(poison, 0)]
    assert verdict.deaths[poison, 0] == 3
    assert [entry.attempt for entry in verdict.journal.begins(poison)] == [1, 2, 3]
    verdict.require_order()
    assert (await row_of(deployment, twice))["finished_at"] is not None
    # no neighbour died more often than the first, unknowing time: suspects run alone
    others = {step: deaths for step, deaths in verdict.deaths.items() if step[0] != poison}
    assert set(others.values()) <= {1}
    assert len(Journal(deployment.journal).begins(poison)) == 3
