"""Signals: a worker that is told to stop gives back what it runs, and nothing is counted or lost.

Acceptance item 5 of the distributed engine.
"""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from asking import all_finished, attempts, rows, submit_many
from journal import Journal
from patience import eventually
from processes import PRODUCTION, Deployment, Process

SLOTS = 50
GRACE_S = 3.0
LEASE_S = 3_600.0
"""So long that who waits for its end does not come through."""


async def until_waiting(deployment: Deployment, count: int) -> None:
    """Wait until so many steps of the job `wait` run, which is the second of each program."""

    async def are_waiting() -> bool:
        begins = Journal(deployment.journal).begins()
        return sum(entry.step == 1 for entry in begins) == count

    await eventually(are_waiting, within_s=60)


async def fifty_run(deployment: Deployment, gates: list[Path]) -> tuple[Process, Process]:
    """Have one worker run 50 steps that wait for their gates; return it, and another one."""
    service, first = await asyncio.gather(deployment.serve(), deployment.work(concurrency=SLOTS))
    jobs = {"jobs": ["tick", "wait", "tick"]}
    await submit_many(
        service, [jobs | {"program_data": {"seconds": 0.1, "gate": str(gate)}} for gate in gates]
    )
    await until_waiting(deployment, SLOTS)
    return first, await deployment.work(concurrency=SLOTS)


@pytest.mark.timeout(300)
async def test_running_steps_go_on_elsewhere_soon_after_a_signal_uncounted(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Acceptance 5; invariants 5 and 9, rule R12: no lease has to run out."""
    deployment.settings |= PRODUCTION | {"lease_s": LEASE_S, "grace_s": GRACE_S}
    soon, late = tmp_path / "soon", tmp_path / "late"
    first, other = await fifty_run(deployment, [soon] * 15 + [late] * 35)
    first.signal(signal.SIGTERM)
    told_at = time.monotonic()
    soon.touch()
    await until_waiting(deployment, SLOTS + 35)
    for row in (await rows(deployment)).values():
        assert (row["step_retry_count"], row["lease_losses"]) == (0, 0)
    late.touch()
    assert await first.ended() == 3
    await all_finished(deployment)
    journal = Journal(deployment.journal)
    pairs = journal.begun_again()
    after_s = [second.at - told_at - GRACE_S for _, second in pairs]
    print(
        f"\n{SLOTS} steps ran; 15 ended within the grace time of {GRACE_S} s, {len(pairs)} were"
        f" begun again by the other worker {min(after_s):.2f} to {max(after_s):.2f} s after it"
    )
    assert {(entry.of[1], entry.attempt, entry.worker) for _, entry in pairs} == {
        (1, 1, other.name)
    }
    assert len(pairs) == 35
    await require_that_nothing_was_lost(deployment, journal)


@pytest.mark.timeout(300)
async def test_without_a_grace_time_fifty_steps_go_on_elsewhere_at_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Acceptance 5; invariant 9."""
    deployment.settings |= PRODUCTION | {"lease_s": LEASE_S, "grace_s": 0}
    gate = tmp_path / "gate"
    first, _ = await fifty_run(deployment, [gate] * SLOTS)
    first.signal(signal.SIGTERM)
    told_at = time.monotonic()
    await until_waiting(deployment, 2 * SLOTS)
    gate.touch()
    assert await first.ended() == 3
    await all_finished(deployment)
    journal = Journal(deployment.journal)
    after_s = [second.at - told_at for _, second in journal.begun_again()]
    print(f"\n{len(after_s)} steps were begun again at most {max(after_s):.2f} s after the signal")
    assert len(after_s) == SLOTS
    await require_that_nothing_was_lost(deployment, journal)


async def require_that_nothing_was_lost(deployment: Deployment, journal: Journal) -> None:
    """Every end is recorded once, was not begun again, and no retry or death was counted."""
    written = await attempts(deployment)
    assert {each["outcome"] for each in written} == {"done", "released"}
    done = Counter((each["run_id"], each["step"]) for each in written if each["outcome"] == "done")
    assert done == Counter(entry.of for entry in journal.ends())
    assert set(done.values()) == {1}
    assert {entry.attempt for entry in journal.begins()} == {1}
    assert not journal.out_of_order()
    for row in (await rows(deployment)).values():
        assert row["job_data"]
