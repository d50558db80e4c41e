"""Locked rows: somebody holds one row in psql, and every other program goes its way."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from builders import a_key, a_program, by_hand, seconds_ago
from lines import Lines, of_event
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import RowLocked
from program_service.bookkeeping.ledger.registry import find_job
from program_service.bookkeeping.ledger.submitting import NewProgram, SubmitResult, Submitted
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.submissions import Submissions
from servers import Connect, on_servers
from stage import Stage

pytestmark = on_servers  # SQLite has one writer, for whom everybody waits

LEASE_S = 6.0


@pytest.fixture
def holder(connect: Connect) -> Database:
    """Return the connections of somebody with psql."""
    return connect()


@asynccontextmanager
async def locked(holder: Database, table: sa.Table, run_id: str) -> AsyncGenerator[None]:
    """Hold the rows of a program locked meanwhile, in one table."""
    async with holder.engine.begin() as connection:
        rows = sa.select(table).where(table.c.run_id == run_id).with_for_update()
        assert (await connection.execute(rows)).all()
        yield


async def test_one_locked_row_costs_its_worker_no_lease(
    stage: Stage, holder: Database, logs: Lines
) -> None:
    """Rules R3 and R7: it waits for longer than a lease lasts; all the others are renewed."""
    may_end = asyncio.Event()

    @job
    async def work(_ctx: JobContext) -> None:
        await may_end.wait()

    shift = await stage.hire(work, lease_s=LEASE_S)
    run_ids = [await stage.submit("work") for _ in range(5)]
    for run_id in run_ids:
        await stage.until(run_id, lambda program: program.status is Status.RUNNING)
    async with locked(holder, holder.tables.programs, run_ids[0]):
        await stage.all_renewed(run_ids[1:], times=2)
    may_end.set()
    for run_id in run_ids[1:]:
        assert (await stage.finished(run_id)).lease_losses == 0
        assert await stage.outcomes(run_id) == ["done"]
    await stage.finished(run_ids[0])
    assert shift.metrics.leases_lost._value.get() <= 1
    assert of_event(logs, "program.row_locked")


async def test_locked_row_holds_up_neither_claims_nor_the_sweeper(
    stage: Stage, holder: Database
) -> None:
    """Rules R1 and R5: what is due beside it, and behind it, is woken and claimed."""

    @job
    async def work(_ctx: JobContext) -> None:
        pass

    held = await stage.submit("work")
    await by_hand(stage.database, held, due_at=seconds_ago(stage.database, 60), woken_at=None)
    async with locked(holder, holder.tables.programs, held):
        await stage.hire(work)
        run_ids = [await stage.submit("work") for _ in range(20)]
        for run_id in run_ids:
            await by_hand(stage.database, run_id, woken_at=None)
            await stage.finished(run_id)
        # it is not woken each time that the sweeper finds it unmarked
        assert (await stage.program(held)).status is Status.PENDING
    await stage.finished(held)


@pytest.mark.parametrize("data", [None, {"done": True}])
async def test_outcome_of_a_locked_row_holds_up_no_other(
    stage: Stage, holder: Database, data: dict[str, bool] | None
) -> None:
    """They are one batch; the locked one is recorded when it is free, and is not run again."""
    runs: list[str] = []
    together, may_end = asyncio.Barrier(5), asyncio.Event()

    @job
    async def work(ctx: JobContext) -> dict[str, bool] | None:
        runs.append(ctx.run_id)
        await together.wait()
        await may_end.wait()
        return data

    await stage.hire(work)
    run_ids = [await stage.submit("work") for _ in range(5)]
    await eventually(lambda: _are(runs, 5))
    async with locked(holder, holder.tables.programs, run_ids[0]):
        may_end.set()
        for run_id in run_ids[1:]:
            await stage.finished(run_id)
        assert (await stage.program(run_ids[0])).status is Status.RUNNING
    await stage.finished(run_ids[0])
    assert sorted(runs) == sorted(run_ids)


async def test_edit_of_a_locked_row_holds_up_no_other(stage: Stage, holder: Database) -> None:
    together, may_edit = asyncio.Barrier(3), asyncio.Event()

    @job
    async def work(ctx: JobContext) -> None:
        await together.wait()
        await may_edit.wait()
        await ctx.job_data.merge({"page": 1})

    await stage.hire(work)
    run_ids = [await stage.submit("work") for _ in range(3)]
    for run_id in run_ids:
        await stage.until(run_id, lambda program: program.status is Status.RUNNING)
    async with locked(holder, holder.tables.programs, run_ids[0]):
        may_edit.set()
        for run_id in run_ids[1:]:
            await stage.finished(run_id)
    program = await stage.finished(run_ids[0])
    assert program.job_data == {"work": {"page": 1}}
    assert await stage.outcomes(run_ids[0]) == ["done"]


async def test_locked_count_holds_up_no_outcome(stage: Stage, holder: Database) -> None:
    """Counts are rows, too, which many outcomes share."""

    @job
    async def work(_ctx: JobContext) -> None:
        pass

    await stage.hire(work)
    await stage.finished(await stage.submit("work"))
    rollups = holder.tables.rollups
    async with holder.engine.begin() as connection:
        assert (await connection.execute(sa.select(rollups).with_for_update())).all()
        run_ids = [await stage.submit("work") for _ in range(5)]
        for run_id in run_ids:
            await stage.finished(run_id)


async def _are(seen: list[str], count: int) -> bool:
    return len(seen) == count


async def test_locked_job_keeps_no_worker_from_starting(
    stage: Stage, holder: Database, logs: Lines
) -> None:
    """What a worker says of that job is registered later."""

    @job
    async def other(_ctx: JobContext) -> None:
        pass

    @job
    async def work(_ctx: JobContext) -> None:
        pass

    jobs = holder.tables.jobs
    await stage.hire(work)
    async with holder.engine.begin() as connection:
        held = sa.select(jobs).where(jobs.c.name == "work").with_for_update()
        assert (await connection.execute(held)).all()
        await stage.hire(replace(work, queue="late"), other, queues=["default", "late"])
        await stage.finished(await stage.submit("other"))
        assert {line["job"] for line in of_event(logs, "job.not_registered")} == {"work"}

    async def is_registered() -> bool:
        return (await stage.database.read(find_job, "work")).queue == "late"

    await eventually(is_registered)


async def test_locked_key_holds_up_no_other_submit(
    stage: Stage, holder: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody inserts that key, and does not commit: whoever wants it, too, waits by itself."""
    grouped: list[str] = []

    async def written(
        submissions: Submissions, programs: Sequence[NewProgram]
    ) -> Sequence[SubmitResult | RowLocked]:
        grouped.extend(program.run_id for program in programs)
        return await usual(submissions, programs)

    usual = Submissions._written
    monkeypatch.setattr(Submissions, "_written", written)
    keys = stage.database.tables.idempotency
    held = {"owner": "shop", "key": "held", "request_hash": "body", "run_id": "elsewhere"}
    async with holder.engine.begin() as connection:
        await connection.execute(sa.insert(keys), [held])
        beside = [a_program(idempotency=a_key(f"free-{number}")) for number in range(5)]
        first, *others = await asyncio.gather(
            *(
                stage.submissions.submit(program)
                for program in (a_program("first", idempotency=a_key("held")), *beside, a_program())
            ),
            return_exceptions=True,
        )
        assert isinstance(first, RowLocked)
        assert {type(each) for each in others} == {Submitted}
        with pytest.raises(RowLocked):
            await stage.submissions.submit(a_program("again", idempotency=a_key("held")))
        await connection.rollback()
    result = await stage.submissions.submit(a_program("free", idempotency=a_key("held")))
    assert isinstance(result, Submitted)
    assert not {"again", "free"} & set(grouped)
    await stage.submissions.submit(a_program("later", idempotency=a_key("held")))
    assert {"first", "later"} <= set(grouped)
