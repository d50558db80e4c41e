"""Lost workers: a lease that ends is taken over; a step that takes three workers along errors."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from builders import claimed, lapse, try_claim
from lines import Lines, of_event
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.lifecycle import MAX_LEASE_LOSSES, WORKER_LOST, Status
from servers import on_postgresql
from stage import Stage


async def orphaned(database: Database, *jobs: str, losses: int = 1, **fields: Any) -> str:
    """Submit a program whose workers died, so many in a row."""
    run_id = (await claimed(database, jobs=jobs, worker="dead-1", **fields)).run_id
    for number in range(2, losses + 1):
        await lapse(database, run_id)
        await try_claim(database, run_id, worker=f"dead-{number}", knows=jobs)
    await lapse(database, run_id)
    return run_id


async def test_program_of_a_dead_worker_goes_on_when_its_lease_ends(stage: Stage) -> None:
    """Invariants 3 and 8: the loss costs no retry of the job's own budget."""
    is_second = False

    @job
    async def charge(ctx: JobContext) -> dict[str, int]:
        if not is_second:
            await asyncio.Event().wait()
        return {"attempt": ctx.attempt}

    first = await stage.hire(charge, lease_s=1.5)
    run_id = await stage.submit("charge")
    await stage.until(run_id, lambda program: program.claimed_by == first.worker.name)
    await first.kill()
    is_second = True
    second = await stage.hire(charge, lease_s=1.5)
    running = await stage.until(run_id, lambda program: program.claimed_by != first.worker.name)
    assert running.step_retry_count == 0
    program = await stage.finished(run_id)
    assert program.job_data == {"charge": {"attempt": 2}}
    attempts = await stage.attempts(run_id)
    assert [(each.outcome, each.worker) for each in attempts] == [
        ("lost", first.worker.name),
        ("done", second.worker.name),
    ]
    taken_over = "program_executor_leases_taken_over_total"
    assert second.metrics.registry.get_sample_value(taken_over) == 1


async def test_lease_losses_are_counted_and_forgotten_after_the_step(stage: Stage) -> None:
    seen: list[int] = []

    @job
    async def look(ctx: JobContext) -> None:
        seen.append((await stage.program(ctx.run_id)).lease_losses)

    run_id = await orphaned(stage.database, "look", "look", losses=2)
    await stage.hire(look)
    await stage.finished(run_id)
    assert seen == [2, 0]


async def test_third_lost_worker_of_a_step_ends_its_program(stage: Stage, logs: Lines) -> None:
    """Invariant 8: a poison job must not kill the fleet one pod at a time."""
    runs: list[str] = []

    @job
    async def poison(ctx: JobContext) -> None:
        runs.append(ctx.run_id)

    run_id = await orphaned(stage.database, "poison", losses=MAX_LEASE_LOSSES)
    shift = await stage.hire(poison)
    program = await stage.ended(run_id)
    await shift.stop()  # it logs after it has recorded
    assert (program.status, program.step_retry_count) == (Status.ERRORED, 0)
    assert program.error_message is not None
    assert program.error_message.startswith(WORKER_LOST)
    assert runs == []
    (line,) = of_event(logs, "Consumer error finish")
    assert line["error_code"] == WORKER_LOST
    last = (await stage.attempts(run_id))[-1]
    assert (last.outcome, last.error_code) == ("failed", WORKER_LOST)


@on_postgresql
async def test_programs_of_a_worker_that_died_run_beside_each_other_elsewhere(stage: Stage) -> None:
    """Rule R11: an eighth of the slots is theirs, so that no death takes hours to recover from."""
    together = asyncio.Barrier(10)

    @job
    async def work(_ctx: JobContext) -> None:
        await together.wait()

    run_ids = [await orphaned(stage.database, "work") for _ in range(10)]
    await stage.hire(work, concurrency=100)
    await stage.all_finished(run_ids)


@on_postgresql
@pytest.mark.parametrize(("losses", "slots", "places"), [(1, 8, 1), (1, 16, 2), (2, 100, 1)])
async def test_programs_that_lost_a_worker_run_beside_few_others(
    stage: Stage, losses: int, slots: int, places: int
) -> None:
    """Rule R11: a poison job among them takes few along, and none of them twice."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    begun = asyncio.Event()

    @job
    async def work(ctx: JobContext) -> None:
        kind = ctx.program_data["kind"]
        now[kind] += 1
        most[kind] = max(most[kind], now[kind])
        # a suspect holds its place until the innocent ones have run beside it
        await begun.wait()
        now[kind] -= 1

    suspects = [
        await orphaned(stage.database, "work", losses=losses, program_data={"kind": "suspect"})
        for _ in range(4)
    ]
    await stage.hire(work, concurrency=slots)
    innocent = [await stage.submit("work", program_data={"kind": "innocent"}) for _ in range(5)]
    for run_id in innocent:
        await stage.until(run_id, lambda program: program.claimed_by is not None)
    await eventually(lambda: _has(now, "suspect", places))
    begun.set()
    await stage.all_finished([*suspects, *innocent])
    assert most["suspect"] == places
    assert most["innocent"] == 5


async def _has(seen: Counter[str], kind: str, count: int) -> bool:
    return seen[kind] == count


@on_postgresql
async def test_suspect_gives_its_place_up_when_its_step_is_recorded(stage: Stage) -> None:
    """Rule R11: it may run for hours after that, and is no suspect any more."""
    may_end = asyncio.Event()

    @job
    async def look(_ctx: JobContext) -> None:
        pass

    @job
    async def work(_ctx: JobContext) -> None:
        await may_end.wait()

    run_ids = [await orphaned(stage.database, "look", "work", losses=2) for _ in range(3)]
    await stage.hire(look, work)
    for run_id in run_ids:
        await stage.until(run_id, lambda program: program.step == 1)
    may_end.set()
    await stage.all_finished(run_ids)


async def test_worker_that_lost_its_lease_records_nothing(stage: Stage, logs: Lines) -> None:
    """Rule R2, invariant 3: the fence refuses what a stalled worker brings too late."""
    holders: list[str] = []
    let_first_go = asyncio.Event()

    @job
    async def charge(ctx: JobContext) -> dict[str, int]:
        holders.append((await stage.program(ctx.run_id)).claimed_by or "")
        if len(holders) == 1:
            await let_first_go.wait()
        return {"try": len(holders) if len(holders) == 1 else ctx.attempt}

    first = await stage.hire(charge)
    run_id = await stage.submit("charge")
    await stage.until(run_id, lambda _program: len(holders) == 1)
    second = await stage.hire(charge)
    # woken until the second worker gets it: the first one holds an old lease of the same row
    first.stopping.set()
    await stage.orphan(run_id)
    program = await stage.finished(run_id)
    let_first_go.set()
    await first.stop()
    assert holders == [first.worker.name, second.worker.name]
    after = await stage.program(run_id)
    assert (after.job_data, after.version) == ({"charge": {"try": 2}}, program.version)
    assert of_event(logs, "outcome.stale")


async def test_job_data_of_a_lost_lease_is_refused_and_ends_the_job(stage: Stage) -> None:
    """Rule R10: job data is fenced like any other write."""
    goes: list[str] = []
    let_first_go = asyncio.Event()

    @job
    async def sync(ctx: JobContext) -> None:
        goes.append("begun")
        if len(goes) == 1:
            await let_first_go.wait()
            await ctx.job_data.merge({"by": "the one that was stalled"})
            goes.append("must not come here")

    first = await stage.hire(sync)
    run_id = await stage.submit("sync")
    await stage.until(run_id, lambda _program: goes == ["begun"])
    first.stopping.set()
    await stage.hire(sync)
    await stage.orphan(run_id)
    await stage.finished(run_id)
    let_first_go.set()
    await first.stop()
    assert goes == ["begun", "begun"]
    assert (await stage.program(run_id)).job_data == {}
