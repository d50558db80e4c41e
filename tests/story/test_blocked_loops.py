"""Blocked loops: a job that does not await holds up its worker, which says so and does no harm."""

import asyncio
import ctypes
import json
import time
from pathlib import Path

import pytest

from asking import all_finished, attempts, submit
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from journal import Journal
from lines import Lines, of_event
from patience import eventually
from processes import Deployment, Process
from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.lifecycle import WORKER_LOST
from program_workers.watch import BLOCKED_S
from servers import on_postgresql, on_sqlite
from stage import Stage

LEASE_S = 3.0
SHORTEST_LEASE_S = 1.5
TOO_LONG_S = BLOCKED_S + 1.0


def blocks_of(process: Process) -> Lines:
    """Return what a worker said of its blocked loop."""
    lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    return of_event(lines, "loop.blocked")


async def until_over(process: Process) -> Lines:
    """Wait until a blocked worker has come back, and return what it said of that."""

    async def is_over() -> bool:
        return any(line["is_over"] for line in blocks_of(process))

    await eventually(is_over)
    return blocks_of(process)


async def until_begun(deployment: Deployment, run_id: str) -> None:
    """Wait until a program has begun a step."""

    async def has_begun() -> bool:
        return bool(Journal(deployment.journal).begins(run_id))

    await eventually(has_begun)


async def test_worker_that_is_blocked_for_longer_than_its_lease_records_nothing_that_another_did(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Invariant 3, rules R2 and R7."""
    gate = tmp_path / "gate"
    deployment.settings |= {"lease_s": LEASE_S}
    service, blocked = await asyncio.gather(deployment.serve(), deployment.work())
    run_id = await submit(
        service, "block", "tick", program_data={"gate": str(gate), "seconds": 0.1}
    )
    await until_begun(deployment, run_id)
    other = await deployment.work()
    await all_finished(deployment)
    gate.touch()
    first, *_, last = await until_over(blocked)

    async def is_refused() -> bool:
        return await blocked.count("stale_writes_rejected") > 0

    await eventually(is_refused)
    assert await blocked.count("leases_lost") == 1
    ends = [(end.step, end.worker) for end in Journal(deployment.journal).ends(run_id)]
    assert ends == [(0, other.name), (1, other.name), (0, blocked.name)]
    written = [(each["outcome"], each["worker"]) for each in await attempts(deployment)]
    assert written == [("lost", blocked.name), ("done", other.name), ("done", other.name)]
    for line in (first, last):
        assert (line["run_id"], line["job"], line["step"]) == (run_id, "block", 0)
        assert "jobs_file.py" in line["at"]
        assert line["line"] == "time.sleep(1)  # just as careless"
    assert (first["is_over"], last["is_over"]) == (False, True)
    assert last["seconds"] > LEASE_S


@pytest.mark.long
async def test_lease_that_ended_while_the_loop_was_blocked_begins_no_further_step(
    deployment: Deployment,
) -> None:
    """Rule R7: the next step is claimed anew, though nobody else was there to take it."""
    deployment.settings |= {"lease_s": LEASE_S}
    service, blocked = await asyncio.gather(deployment.serve(), deployment.work())
    await submit(service, "block", "block", program_data={"seconds": 2 * LEASE_S})
    await all_finished(deployment)
    assert await blocked.count("leases_lost") >= 1
    done = [each for each in await attempts(deployment) if each["outcome"] == "done"]
    assert [each["step"] for each in done] == [0, 1]
    assert len({each["lease"] for each in done}) == 2


@on_postgresql
async def test_job_that_always_outlasts_its_lease_errors_in_the_end(
    stage: Stage, logs: Lines
) -> None:
    """Invariant 8: a lease that a job lost by its own blocking is counted, also with one worker."""

    @job
    async def hopeless(_ctx: JobContext) -> None:
        time.sleep(2 * SHORTEST_LEASE_S)
        await asyncio.Event().wait()

    await stage.hire(hopeless, lease_s=SHORTEST_LEASE_S)
    program = await stage.ended(await stage.submit("hopeless"), within_s=90)
    assert program.error_message is not None
    assert program.error_message.startswith(WORKER_LOST)
    assert (await stage.outcomes(program.run_id)) == ["lost", "lost", "lost", "failed"]
    assert {line["job"] for line in of_event(logs, "loop.blocked")} <= {"hopeless", None}


@job
async def careless(_ctx: JobContext) -> None:
    """Block the loop for longer than is tolerated."""
    time.sleep(TOO_LONG_S)  # in the loop


@job
async def careless_child(_ctx: JobContext) -> None:
    """Block the loop in a task of the job's own."""

    async def child() -> None:
        time.sleep(TOO_LONG_S)  # in a task

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(child())


@job
async def greedy(_ctx: JobContext) -> None:
    """Hold the interpreter itself, so that no thread can look."""
    ends_at = time.monotonic() + TOO_LONG_S
    while time.monotonic() < ends_at:
        sum(range(1_000_000))


@job
def patient(_ctx: ThreadJobContext) -> None:
    """Sleep in a thread, which blocks nobody."""
    time.sleep(TOO_LONG_S)


async def told_of(stage: Stage, logs: Lines, name: str) -> Lines:
    """Run a job that blocks, and return what was said of it, not of a machine that stood still."""
    run_id = await stage.submit(name)
    await stage.finished(run_id)

    def told() -> Lines:
        blocks = of_event(logs, "loop.blocked")
        return [line for line in blocks if Path(__file__).name in str(line.get("at"))]

    async def is_over() -> bool:
        return any(line["is_over"] for line in told())

    await eventually(is_over)
    return told()


@on_sqlite
async def test_job_that_blocks_is_named_while_it_lasts_and_when_it_is_over(
    stage: Stage, logs: Lines
) -> None:
    worker = await stage.hire(careless)
    first, last = await told_of(stage, logs, "careless")
    assert (first["job"], first["step"], first["is_over"]) == ("careless", 0, False)
    assert (last["run_id"], last["line"]) == (
        first["run_id"],
        "time.sleep(TOO_LONG_S)  # in the loop",
    )
    assert last["is_over"]
    assert last["seconds"] > first["seconds"] > BLOCKED_S
    lag = worker.metrics.registry.get_sample_value("program_executor_event_loop_lag_seconds_sum")
    assert lag is not None
    assert lag > BLOCKED_S


@on_sqlite
async def test_task_of_a_job_that_blocks_is_found_by_its_line(stage: Stage, logs: Lines) -> None:
    await stage.hire(careless_child)
    first, last = await told_of(stage, logs, "careless_child")
    assert first["line"] == last["line"] == "time.sleep(TOO_LONG_S)  # in a task"
    assert last["at"].endswith("in child")


@on_sqlite
async def test_computation_that_blocks_is_named_too(stage: Stage, logs: Lines) -> None:
    await stage.hire(greedy)
    lines = await told_of(stage, logs, "greedy")
    assert lines[-1]["job"] == "greedy"


@on_sqlite
async def test_plain_job_blocks_nobody(stage: Stage, logs: Lines) -> None:
    await stage.hire(patient)
    await stage.finished(await stage.submit("patient"))
    assert "patient" not in {line["job"] for line in of_event(logs, "loop.blocked")}


LIBC = ctypes.PyDLL(None)
"""Calls that keep the interpreter's lock, as some extensions' do."""


def computed_s(numbers: int) -> float:
    """Add up numbers in C, which keeps the lock, and return how long that took."""
    began = time.thread_time()
    sum(range(numbers))
    return time.thread_time() - began


@job
def hoarding(_ctx: ThreadJobContext) -> None:
    """Compute in C for longer than is tolerated."""
    sample = 2_000_000
    sum(range(int(sample * TOO_LONG_S / computed_s(sample))))


@job
def sleepy(_ctx: ThreadJobContext) -> None:
    """Wait in C for longer than is tolerated."""
    LIBC.usleep(int(TOO_LONG_S * 1e6))


@on_sqlite
async def test_plain_job_that_keeps_the_lock_and_computes_is_named(
    stage: Stage, logs: Lines
) -> None:
    """Neither the loop nor the thread that watches it could see it."""
    await stage.hire(hoarding, patient)
    await stage.submit("patient")  # runs beside it, and is not the one
    run_id = await stage.submit("hoarding")
    await stage.finished(run_id)

    async def named() -> Lines:
        return [line for line in of_event(logs, "loop.blocked") if line["run_id"] == run_id]

    line = (await eventually(named))[-1]
    assert (line["job"], line["step"]) == ("hoarding", 0)
    assert line["seconds"] > BLOCKED_S
    assert line["threads"][0].startswith(f"hoarding of {run_id}: ")


@on_sqlite
async def test_plain_job_that_keeps_the_lock_and_waits_is_among_those_that_are_named(
    stage: Stage, logs: Lines
) -> None:
    await stage.hire(sleepy)
    run_id = await stage.submit("sleepy")
    await stage.finished(run_id)

    async def is_named() -> bool:
        blocks = of_event(logs, "loop.blocked")
        return any(run_id in thread for line in blocks for thread in line["threads"])

    await eventually(is_named)


@pytest.mark.long
@on_postgresql
async def test_plain_job_that_always_outlasts_its_lease_errors_in_the_end(
    stage: Stage, logs: Lines
) -> None:
    """Invariant 8: its own lease is counted as lost, though its worker could release it."""

    @job
    def hopeless(ctx: ThreadJobContext) -> None:
        sample = 2_000_000
        sum(range(int(sample * 2 * SHORTEST_LEASE_S / computed_s(sample))))
        while not ctx.cancelled:
            time.sleep(0.01)

    await stage.hire(hopeless, lease_s=SHORTEST_LEASE_S)
    program = await stage.ended(await stage.submit("hopeless"), within_s=90)
    assert program.error_message is not None
    assert program.error_message.startswith(WORKER_LOST)
    assert (await stage.outcomes(program.run_id)) == ["lost", "lost", "lost", "failed"]
    assert {line["job"] for line in of_event(logs, "loop.blocked")} <= {"hopeless", None}
