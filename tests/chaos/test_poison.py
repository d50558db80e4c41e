"""Poison: jobs that kill their workers end their own programs, and no innocent one beside them."""

import asyncio
import signal
from collections import Counter

import pytest

from asking import all_ended, attempts, submit_many
from journal import note_kill
from processes import Deployment, Process
from program_service.bookkeeping.lifecycle import MAX_LEASE_LOSSES, WORKER_LOST
from verdict import verdict_on

SLOTS, WORKERS, INNOCENT = 100, 3, 400
POISON = {"leave": 1, "crash": -signal.SIGSEGV, "devour": -signal.SIGKILL}
"""{job that kills: exit code of its worker}."""

LEASE_S = 4.0
TAIL_S = 900.0


class Fleet:
    """Workers; for each that dies a new one is started, as Kubernetes does."""

    def __init__(self, deployment: Deployment) -> None:
        """Begin with nobody."""
        self.deployment = deployment
        self.exit_codes: Counter[int] = Counter()

    async def keep(self) -> None:
        """Keep so many at work, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._keep_one())

    async def _keep_one(self) -> None:
        while True:
            worker = self._start()
            exit_code = await worker.died(within_s=TAIL_S)
            note_kill(self.deployment.journal, worker.name)
            self.exit_codes[exit_code] += 1

    def _start(self) -> Process:
        return self.deployment.start_work(modules=["jobs_poison"], concurrency=SLOTS)


@pytest.mark.timeout(1_200)
async def test_jobs_that_kill_their_workers_take_no_innocent_program_along(
    deployment: Deployment,
) -> None:
    """Invariant 8, rule R11: one poison job errored 18 innocent programs of 100 without it."""
    deployment.settings |= {"lease_s": LEASE_S, "unknown_jobs": "accept"}
    service = await deployment.serve()
    innocent = [{"jobs": ["tick"] * 3, "labels": {"is": "innocent"}}] * INNOCENT
    poison = [{"jobs": ["tick", name, "tick"], "labels": {"is": name}} for name in POISON]
    # in different wake-ups, all of the first wave: an innocent one meets one first run at most
    programs = [*innocent[:20], poison[0], *innocent[20:60], poison[1], *innocent[60:100]]
    await submit_many(service, [*programs, poison[2], *innocent[100:]])
    fleet = Fleet(deployment)
    keeping = asyncio.create_task(fleet.keep())
    rows = await all_ended(deployment, within_s=TAIL_S)
    keeping.cancel()
    errored = {row["job"]: row for row in rows.values() if row["errored_at"]}
    lost = Counter(
        (each["run_id"], each["step"])
        for each in await attempts(deployment)
        if each["outcome"] == "lost"
    )
    verdict = await verdict_on(deployment)
    print(
        f"\n{dict(fleet.exit_codes)} deaths of workers; {verdict.summary()};"
        f" {dict(Counter(lost.values()))} steps lost so many leases"
    )
    assert len(rows) == INNOCENT + len(POISON)
    assert sorted(errored) == sorted(POISON)
    for row in errored.values():
        assert row["error_message"].startswith(WORKER_LOST)
        assert (row["step"], lost[row["run_id"], 1]) == (1, MAX_LEASE_LOSSES)
    # each killed three workers, in its own way, or was there when another one killed the first
    assert fleet.exit_codes.keys() == set(POISON.values())
    assert max(fleet.exit_codes.values()) <= MAX_LEASE_LOSSES
    verdict.require_order()
    finished = [row for row in rows.values() if row["finished_at"]]
    assert len(finished) == INNOCENT
