"""Stopping: a worker takes no more work, lets jobs finish, and gives back what still runs.

Invariant 9.
"""

import asyncio
import threading

from lines import Lines, of_event
from patience import eventually
from program_executor import Job, JobContext, ThreadJobContext, job
from program_service.bookkeeping.ledger.workers import list_workers, request_drain
from program_service.bookkeeping.lifecycle import Status
from program_workers.worker import Stopped
from servers import on_sqlite
from stage import Shift, Stage


class Gate:
    """A job that waits to be let through, and notes who came through."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.through: list[str] = []

    def job(self) -> Job:
        """Return the job."""

        @job("gate")
        async def gate(ctx: JobContext) -> dict[str, int]:
            await self.open.wait()
            self.through.append(ctx.run_id)
            return {"attempt": ctx.attempt}

        return gate


async def running(stage: Stage, shift: Shift, job_name: str) -> str:
    """Submit a program, and wait until the worker runs it."""
    run_id = await stage.submit(job_name)
    await stage.until(run_id, lambda program: program.claimed_by == shift.worker.name)
    return run_id


async def test_idle_worker_stops_at_once_and_takes_leave(stage: Stage) -> None:
    shift = await stage.hire(Gate().job())
    assert await stage.database.read(list_workers, beat_s=60)
    assert await shift.stop() is Stopped.DRAINED
    assert await stage.database.read(list_workers, beat_s=60) == []


async def test_worker_that_stops_lets_its_jobs_finish(stage: Stage) -> None:
    gate = Gate()
    shift = await stage.hire(gate.job(), grace_s=60)
    run_ids = [await running(stage, shift, "gate") for _ in range(3)]
    shift.stopping.set()
    await asyncio.sleep(0)
    gate.open.set()
    assert await shift.stop() is Stopped.DRAINED
    assert sorted(gate.through) == sorted(run_ids)
    for run_id in run_ids:
        assert (await stage.program(run_id)).status is Status.FINISHED


async def test_worker_that_stops_takes_no_more_work(stage: Stage) -> None:
    gate = Gate()
    shift = await stage.hire(gate.job(), grace_s=60)
    held = await running(stage, shift, "gate")
    shift.stopping.set()
    run_id = await stage.submit("gate")
    await stage.until(run_id, lambda program: program.woken_at is not None)
    gate.open.set()
    await shift.stop()
    assert gate.through == [held]
    assert (await stage.program(run_id)).status is Status.PENDING
    await stage.hire(gate.job())
    await stage.finished(run_id)


async def test_jobs_that_outlast_the_grace_time_are_released_uncounted(stage: Stage) -> None:
    gate = Gate()
    shift = await stage.hire(gate.job(), grace_s=0.1)
    run_id = await running(stage, shift, "gate")
    assert await shift.stop() is Stopped.RELEASED
    program = await stage.program(run_id)
    assert (program.status, program.claimed_by) == (Status.PENDING, None)
    assert (program.step_retry_count, program.lease_losses) == (0, 0)
    gate.open.set()
    await stage.hire(gate.job())
    program = await stage.finished(run_id)
    assert program.job_data == {"gate": {"attempt": 1}}
    assert await stage.outcomes(run_id) == ["released", "done"]


async def test_worker_in_a_hurry_does_not_wait_for_the_end_of_the_grace_time(
    stage: Stage,
) -> None:
    gate = Gate()
    shift = await stage.hire(gate.job(), grace_s=3_600)
    run_id = await running(stage, shift, "gate")
    shift.stopping.set()
    shift.worker.hurry()
    assert await shift.stop() is Stopped.RELEASED
    assert (await stage.program(run_id)).status is Status.PENDING


async def test_another_worker_goes_on_at_once_not_when_a_lease_ends(stage: Stage) -> None:
    gate = Gate()
    shift = await stage.hire(gate.job(), grace_s=0.1, lease_s=3_600)
    run_ids = [await running(stage, shift, "gate") for _ in range(3)]
    await stage.hire(gate.job(), worker_name="other")
    await shift.stop()
    gate.open.set()
    await stage.all_finished(run_ids)
    for run_id in run_ids:
        workers = [attempt.worker for attempt in await stage.attempts(run_id)]
        assert workers == [shift.worker.name, "other"]


async def test_thread_that_asks_whether_it_shall_stop_is_released(stage: Stage) -> None:
    @job
    def patient(ctx: ThreadJobContext) -> dict[str, str]:
        while not ctx.cancelled:
            threading.Event().wait(0.01)
        return {"must not": "be recorded"}

    shift = await stage.hire(patient, grace_s=0.1)
    run_id = await running(stage, shift, "patient")
    assert await shift.stop() is Stopped.RELEASED
    program = await stage.program(run_id)
    assert (program.status, program.job_data) == (Status.PENDING, {})
    assert await stage.outcomes(run_id) == ["released"]


@on_sqlite
async def test_thread_that_does_not_end_is_abandoned_and_due_later(stage: Stage) -> None:
    """Rule R12, invariant 13: its program waits until the process is surely gone."""
    let_end, ended = threading.Event(), threading.Event()

    @job
    def deaf(ctx: ThreadJobContext) -> dict[str, int]:
        if ctx.attempt == 1 and not let_end.is_set():
            let_end.wait(60)
            ended.set()
            return {"must not be": ctx.attempt}
        return {"attempt": ctx.attempt}

    shift = await stage.hire(deaf, grace_s=0.1)
    run_id = await running(stage, shift, "deaf")
    try:
        assert await shift.stop() is Stopped.ABANDONED
        program = await stage.program(run_id)
        assert (program.status, program.claimed_by) == (Status.SCHEDULED, None)
        assert (program.step_retry_count, program.lease_losses) == (0, 0)
        assert program.due_at is not None
        assert 4 < (program.due_at - program.updated_at).total_seconds() < 6
    finally:
        let_end.set()
    await asyncio.to_thread(ended.wait, 30)
    await stage.orphan(run_id)  # its time has come
    await stage.hire(deaf)
    program = await stage.finished(run_id)
    assert program.job_data == {"deaf": {"attempt": 1}}
    assert await stage.outcomes(run_id) == ["released", "done"]


async def test_drained_worker_takes_no_more_and_finishes_what_it_holds(stage: Stage) -> None:
    gate = Gate()
    drained = await stage.hire(gate.job())
    held = await running(stage, drained, "gate")
    assert await stage.database.transact(request_drain, drained.worker.process)

    async def is_said() -> bool:
        (row,) = await stage.database.read(list_workers, beat_s=60)
        assert row.is_draining
        return not row.queues and not row.jobs

    await eventually(is_said)
    assert not drained.worker.is_ready.is_set()
    waiting = await stage.submit("gate")
    gate.open.set()
    assert (await stage.finished(held)).status is Status.FINISHED
    assert (await stage.program(waiting)).status is Status.PENDING
    other = await stage.hire(gate.job())
    await stage.finished(waiting)
    assert [each.worker for each in await stage.attempts(waiting)] == [other.worker.name]
    assert await drained.stop() is Stopped.DRAINED


async def test_other_workers_go_on_when_one_is_drained(stage: Stage) -> None:
    gate = Gate()
    gate.open.set()
    shift = await stage.hire(gate.job())
    assert not await stage.database.transact(request_drain, "somebody-else")
    await stage.finished(await stage.submit("gate"))
    assert shift.worker.is_ready.is_set()


async def test_one_of_two_workers_of_one_name_is_drained(stage: Stage, logs: Lines) -> None:
    """Both are listed, and each says that its name is in use."""
    gate = Gate()
    gate.open.set()
    shifts = [await stage.hire(gate.job(), worker_name="twin") for _ in range(2)]
    processes = {shift.worker.process for shift in shifts}

    async def is_said_by_both() -> bool:
        found = of_event(logs, "worker.name_in_use")
        return {(each["worker"], each["process"]) for each in found} == {
            ("twin", process) for process in processes
        }

    await eventually(is_said_by_both)
    assert await stage.database.transact(request_drain, shifts[0].worker.process)

    async def is_drained() -> bool:
        rows = await stage.database.read(list_workers, beat_s=60)
        assert {row.process for row in rows} == processes
        return {row.process for row in rows if not row.queues} == {shifts[0].worker.process}

    await eventually(is_drained)
    assert shifts[1].worker.is_ready.is_set()
    await stage.finished(await stage.submit("gate"))
    assert await shifts[0].stop() is Stopped.DRAINED
    (row,) = await stage.database.read(list_workers, beat_s=60)
    assert row.process == shifts[1].worker.process
    assert len(of_event(logs, "worker.name_in_use")) == 2  # once each
