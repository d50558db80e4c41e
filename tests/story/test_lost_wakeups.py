"""Lost wake-ups: the row is the truth; losing, doubling or delaying messages costs time only."""

import asyncio

from builders import by_hand, row_of
from program_executor import JobContext, job
from program_service.wakeups.broker import Wakeup
from servers import on_sqlite
from stage import Stage

PROGRAMS = 60


@job
async def ping(_ctx: JobContext) -> None:
    """Run in the default queue."""


@job(queue="far")
async def pong(_ctx: JobContext) -> None:
    """Run in another queue, so that a wake-up is needed for it."""


async def test_wakeups_that_were_purged_are_sent_again(stage: Stage) -> None:
    """Invariant 2, rule R6: woken once, claimed by nobody, and the queue is empty."""
    let_go = asyncio.Event()

    @job
    async def block(_ctx: JobContext) -> None:
        await let_go.wait()

    await stage.hire(ping, block, concurrency=1)
    blocking = await stage.submit("block")
    await stage.until(blocking, lambda program: program.claimed_by is not None)
    run_ids = [await stage.submit("ping") for _ in range(PROGRAMS)]
    for run_id in run_ids:
        await stage.until(run_id, lambda program: program.woken_at is not None)
    await stage.broker.purge()
    let_go.set()
    await stage.all_finished([blocking, *run_ids])


async def test_everything_finishes_while_the_broker_is_purged_all_the_time(stage: Stage) -> None:
    """Invariant 2: the wake-ups between the steps are lost too."""
    await stage.hire(ping)
    await stage.hire(pong, queues=["far"])

    async def purge() -> None:
        for _ in range(40):
            await stage.broker.purge()
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(purge())
        run_ids = [await stage.submit("ping", "pong", "ping") for _ in range(PROGRAMS)]
    await stage.all_finished(run_ids)
    for run_id in run_ids:
        assert await stage.outcomes(run_id) == ["done", "done", "done"]


async def test_doubled_wakeups_run_no_step_twice(stage: Stage) -> None:
    """Invariant 4."""
    runs: list[str] = []

    @job
    async def count(ctx: JobContext) -> None:
        runs.append(ctx.run_id)

    run_ids = [await stage.submit("count") for _ in range(20)]
    now = (await stage.program(run_ids[0])).created_at
    doubled = [Wakeup("default", tuple(run_ids), now) for _ in range(5)]
    await stage.hire(count)
    await stage.hire(count)
    await stage.broker.publish([*doubled, Wakeup("default", (run_ids[0],) * 10, now)])
    await stage.all_finished(run_ids)
    await stage.crew.stop()
    assert sorted(runs) == sorted(run_ids)


async def test_wakeups_of_nothing_harm_nobody(stage: Stage) -> None:
    await stage.hire(ping)
    ended = await stage.finished(await stage.submit("ping"))
    later = ended.created_at.replace(year=ended.created_at.year + 1)
    scheduled = await stage.submit("ping", start_at=later)
    names = (ended.run_id, scheduled, "no such program", "")
    await stage.broker.publish([Wakeup("default", names, ended.created_at)])
    await stage.finished(await stage.submit("ping"))
    assert (await stage.program(scheduled)).claimed_by is None
    assert await stage.outcomes(ended.run_id) == ["done"]


async def test_program_whose_due_time_was_set_by_hand_runs(stage: Stage) -> None:
    await stage.hire(ping)
    now = (await stage.finished(await stage.submit("ping"))).created_at
    run_id = await stage.submit("ping", start_at=now.replace(year=now.year + 1))
    await by_hand(stage.database, run_id, due_at=now.replace(microsecond=0))
    await stage.finished(run_id)


@on_sqlite
async def test_sweep_ends_whatever_form_a_time_was_given_by_hand(stage: Stage) -> None:
    """`datetime('now')` has no fraction, unlike our own texts: the mark must find it anyway."""
    await stage.hire(pong)  # knows the job, and serves another queue
    run_id = await stage.submit("pong", queue="far")
    async with stage.database.engine.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE programs SET due_at = datetime('now', '-5 seconds'), woken_at = NULL"
        )
    async with asyncio.timeout(5):
        await stage.sweeper.sweep()
    assert (await row_of(stage.database, run_id))["woken_at"] is not None
