"""Safety net: what goes wrong around one program ends that program at worst, and no other."""

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import sqlalchemy as sa

from builders import by_hand, row_of
from lines import Lines, of_event
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.claiming import Claim
from program_service.bookkeeping.ledger.recording import StepRecord
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import Wakeup
from program_service.wakeups.memory import MemoryDelivery, MemorySubscription
from program_service.wakeups.relay import Relay
from program_workers.inprocess import InProcessJobs
from program_workers.intake import HOLD_S, Intake
from program_workers.lease import LeaseKeeper
from program_workers.observer import Observer
from program_workers.worker import Stopped
from servers import on_postgresql, on_sqlite
from stage import Shift, Stage

SLOTS = 3
BAD = "bad"


class OddError(BaseException):
    """What nobody foresees."""


@job
async def run(_ctx: JobContext) -> None:
    """Do nothing."""
    await asyncio.sleep(0)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets a method raise for one program."""

    def arrange(kind: type, method: str, *, of: type = object) -> None:
        verb = getattr(kind, method)

        @wraps(verb)
        def failing(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(each, of) and is_bad(each) for each in args):
                raise OddError("the moon is full")
            return verb(*args, **kwargs)

        monkeypatch.setattr(kind, method, failing)

    return arrange


def is_bad(value: Any) -> bool:
    """Say whether a program, or a step, wish or record of it, is the bad one."""
    row = value[0] if isinstance(value, list) and value else value
    return bool(getattr(getattr(row, "program", row), "run_id", None) == BAD)


async def others_run(stage: Stage, shift: Shift) -> None:
    """Run some other programs to their end, and stop with all slots free."""
    for run_id in [await stage.submit("run", "run") for _ in range(2 * SLOTS)]:
        await stage.finished(run_id)
    assert await shift.stop() is Stopped.DRAINED
    assert shift.worker._slots.free == SLOTS


def caught(shift: Shift, during: str) -> float | None:
    """Return how often the net caught something."""
    name = "program_executor_internal_failures_total"
    return shift.metrics.registry.get_sample_value(name, {"during": during})


@on_sqlite
async def test_unforeseen_exception_errors_its_program(
    stage: Stage, logs: Lines, fail: Callable[..., None]
) -> None:
    fail(InProcessJobs, "run")
    shift = await stage.hire(run, concurrency=SLOTS)
    program = await stage.ended(await stage.submit("run", run_id=BAD))
    await others_run(stage, shift)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert program.error_message.startswith("internal: ")
    assert "OddError: the moon is full" in program.error_message
    (attempt,) = await stage.attempts(BAD)
    assert (attempt.outcome, attempt.error_type) == ("failed", "internal")
    assert attempt.error_code == "internal"
    assert attempt.traceback is not None
    assert "the moon is full" in attempt.traceback
    (line,) = of_event(logs, "program.failed_internally")
    assert (line["run_id"], line["during"]) == (BAD, "run")
    assert line["exception"] == attempt.traceback
    assert caught(shift, "run") == 1
    assert len(of_event(logs, "Consumer error finish")) == 1


@on_sqlite
async def test_outcome_that_cannot_be_recorded_sets_its_program_aside(
    stage: Stage, logs: Lines, fail: Callable[..., None]
) -> None:
    fail(GroupCommit, "add", of=StepRecord)
    shift = await stage.hire(run, concurrency=SLOTS)
    program = await stage.ended(await stage.submit("run", run_id=BAD))
    await others_run(stage, shift)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "OddError: the moon is full" in program.error_message
    (attempt,) = await stage.attempts(BAD)
    assert attempt.error_code == "internal"
    (line,) = of_event(logs, "program.set_aside")
    assert line["run_id"] == BAD
    assert (caught(shift, "run"), caught(shift, "record")) == (1, 1)


@on_sqlite
@pytest.mark.parametrize(("kind", "method"), [(Observer, "observe"), (Relay, "wake_soon")])
async def test_what_is_recorded_is_not_undone_by_who_is_told(
    stage: Stage, fail: Callable[..., None], kind: type, method: str
) -> None:
    @job(queue="mail")
    async def mail(_ctx: JobContext) -> None:
        """Run on the other worker."""

    await stage.hire(mail, queues=["mail"])
    await stage.submit("run", "mail", run_id=BAD)
    fail(kind, method)
    shift = await stage.hire(run, concurrency=SLOTS)
    program = await stage.finished(BAD)
    await others_run(stage, shift)
    assert program.error_message is None
    assert caught(shift, "observe") == 1


@on_sqlite
async def test_program_that_cannot_even_be_claimed_takes_no_slot(
    stage: Stage, fail: Callable[..., None]
) -> None:
    fail(GroupCommit, "add", of=Claim)
    await not_begun(stage, during="claim")
    assert (await stage.program(BAD)).status is Status.PENDING


@on_sqlite
async def test_program_whose_failure_cannot_be_recorded_is_left_to_its_lease(
    stage: Stage, fail: Callable[..., None]
) -> None:
    fail(LeaseKeeper, "holding")
    await not_begun(stage, during="fail")
    assert (await stage.program(BAD)).status is Status.RUNNING


async def not_begun(stage: Stage, *, during: str) -> None:
    """Let a worker fail to begin the bad program, and run others."""
    shift = await stage.hire(run, concurrency=SLOTS)
    await stage.submit("run", run_id=BAD)

    async def is_caught() -> bool:
        return bool(caught(shift, during))

    await eventually(is_caught)
    await others_run(stage, shift)


@on_sqlite
async def test_wakeup_that_cannot_be_handed_back_or_acknowledged_takes_no_slot(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_args: Any, **_options: Any) -> None:
        raise OddError("the moon is full")

    shift = await stage.hire(run, concurrency=SLOTS)
    unknown = await stage.submit("unknown")
    now = (await stage.program(unknown)).created_at
    with monkeypatch.context() as patched:
        patched.setattr(MemoryDelivery, "acknowledge", fail)
        patched.setattr(Intake, "hand_back", fail)
        await stage.broker.publish([Wakeup("default", (unknown, unknown), now)])

        async def is_caught() -> bool:
            return bool(caught(shift, "acknowledge")) and bool(caught(shift, "hand_back"))

        await eventually(is_caught)
    await others_run(stage, shift)


@on_sqlite
async def test_stop_while_a_full_worker_resumes_its_consumers_takes_no_slot(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_resumed, may_end = asyncio.Event(), asyncio.Event()

    def note(_subscription: MemorySubscription) -> None:
        if may_end.is_set():
            has_resumed.set()

    @job
    async def fill(_ctx: JobContext) -> None:
        await may_end.wait()

    monkeypatch.setattr(MemorySubscription, "resume", note)
    shift = await stage.hire(fill, concurrency=1)
    run_id = await stage.submit("fill")
    await stage.until(run_id, lambda program: program.status is Status.RUNNING)
    await asyncio.sleep(2 * HOLD_S)  # it is full for longer than it holds wake-ups
    may_end.set()
    await has_resumed.wait()
    assert await shift.stop() is Stopped.DRAINED
    assert shift.worker._slots.free == 1


@on_sqlite
async def test_job_that_somebody_wrote_into_a_row_runs_where_it_is_known(stage: Stage) -> None:
    """Invariant 10: a job that no live worker knows is never skipped."""

    @job(queue="mail")
    async def mail(_ctx: JobContext) -> None:
        """Run on the other worker."""

    shift = await stage.hire(run, concurrency=SLOTS)
    await stage.submit("run", run_id=BAD, start_at=None)
    await others_run(stage, shift)
    run_id = await stage.submit("run", run_id="changed")
    await by_hand(stage.database, run_id, jobs=["mail"])
    shift = await stage.hire(run, concurrency=SLOTS)
    moved = await stage.until(run_id, lambda program: program.job == "mail")
    assert (moved.status, await stage.outcomes(run_id)) == (Status.PENDING, ["released"])
    await others_run(stage, shift)
    await stage.hire(mail, queues=["mail"])
    await stage.finished(run_id)


@on_postgresql
async def test_program_whose_attempts_are_refused_is_set_aside(stage: Stage, logs: Lines) -> None:
    """What a trigger of the user's forbids, as for an audit."""
    attempts = stage.database.tables.attempts.name

    async def alter(change: str) -> None:
        async with stage.database.engine.begin() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {attempts} {change}"))

    await alter(f"ADD CONSTRAINT own CHECK (run_id <> '{BAD}')")
    try:
        shift = await stage.hire(run, concurrency=SLOTS)
        program = await stage.ended(await stage.submit("run", run_id=BAD))
        await others_run(stage, shift)
        assert program.status is Status.ERRORED
        assert program.error_message is not None
        assert "refused to store" in program.error_message
        assert await stage.attempts(BAD) == []
        row = await row_of(stage.database, BAD)
        assert (row["lease"], row["claimed_by"]) == (None, None)
    finally:
        await alter("DROP CONSTRAINT own")
    assert len(of_event(logs, "Consumer error finish")) == 1


@on_sqlite
async def test_counts_that_overflow_are_a_matter_of_their_program(stage: Stage) -> None:
    await stage.submit("run", run_id=BAD)
    await by_hand(stage.database, BAD, step_retry_count=2**31 - 1)
    shift = await stage.hire(run, concurrency=SLOTS)
    program = await stage.ended(BAD)
    assert program.status is Status.ERRORED
    await others_run(stage, shift)
