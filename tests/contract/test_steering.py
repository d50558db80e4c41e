"""Steering: cancel and resume, at once and only where they can be meant (rule R14)."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from builders import (
    HOUR_S,
    a_failure,
    attempts_of,
    by_hand,
    claimed,
    let_go,
    reclaimed,
    recorded,
    row_of,
    seconds_ago,
    stands,
    submitted,
    try_claim,
)
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import (
    AlreadyFinal,
    BookkeepingError,
    NotResumable,
    ProgramNotFound,
)
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import Claimed, Done, Fail, Status
from servers import Connect, on_postgresql


async def _errored(database: Database, run_id: str = "run-1", **fields: Any) -> Claimed:
    program = await claimed(database, run_id, **fields)
    await stands(database, program, Fail(a_failure()))
    return program


async def _resume(database: Database, run_id: str = "run-1", **where: Any) -> Program:
    return await database.transact(resume, run_id, **({"queues": {}} | where))


async def test_cancel_ends_a_waiting_program_at_once(database: Database) -> None:
    """Rule R14, invariant 1."""
    await submitted(database, "run-1")
    due_at = (await row_of(database, "run-1"))["due_at"]
    program, _ = await database.transact(cancel, "run-1")
    assert program.status is Status.CANCELLED
    assert program.cancelled_at is not None
    assert program.errored_at is not None
    assert program.version == 2
    assert program.due_at == due_at
    assert not isinstance(await try_claim(database, "run-1"), Claimed)


async def test_cancel_ends_a_running_program_and_its_worker_is_refused(database: Database) -> None:
    """Rule R14, invariant 6."""
    worker = await claimed(database, "run-1")
    program, _ = await database.transact(cancel, "run-1")
    assert program.status is Status.CANCELLED
    assert (await row_of(database, "run-1"))["lease"] == worker.lease
    assert await recorded(database, worker, Done()) is None
    assert (await database.read(find, "run-1")).step == 0


async def test_cancel_forgets_the_callback_that_was_awaited(database: Database) -> None:
    await submitted(database, "run-1")
    await by_hand(database, "run-1", awaiting=1)
    await database.transact(cancel, "run-1")
    assert (await row_of(database, "run-1"))["awaiting"] is None


async def test_second_cancel_changes_nothing(database: Database) -> None:
    await submitted(database, "run-1")
    first, _ = await database.transact(cancel, "run-1")
    assert await database.transact(cancel, "run-1") == (first, False)


async def test_cancel_of_what_has_ended_is_refused(database: Database) -> None:
    """Invariant 6."""
    await stands(database, await claimed(database, "finished", jobs=["ship"]), Done())
    await _errored(database, "errored")
    for run_id in ("finished", "errored"):
        before = await row_of(database, run_id)
        with pytest.raises(AlreadyFinal, match=run_id):
            await database.transact(cancel, run_id)
        assert await row_of(database, run_id) == before


async def test_cancel_of_a_revived_program_that_finished_is_refused(database: Database) -> None:
    """Invariant 6: cleared errored_at by hand leaves cancelled_at behind."""
    await submitted(database, "run-1", jobs=["ship"])
    await database.transact(cancel, "run-1")
    await by_hand(database, "run-1", errored_at=None)
    await stands(database, await reclaimed(database, "run-1"), Done())
    with pytest.raises(AlreadyFinal):
        await database.transact(cancel, "run-1")


async def test_revived_program_that_errors_is_errored_and_not_cancelled(
    database: Database,
) -> None:
    """Nobody cancelled what failed after somebody cleared errored_at by hand."""
    await submitted(database, "run-1")
    await database.transact(cancel, "run-1")
    await by_hand(database, "run-1", errored_at=None)
    await stands(database, await reclaimed(database, "run-1"), Fail(a_failure()))
    assert (await database.read(find, "run-1")).status is Status.ERRORED


async def test_resume_starts_the_failed_step_afresh(database: Database) -> None:
    """Rule R14."""
    program = await claimed(database, "run-1")
    await stands(database, program, Done(), is_next_mine=False)
    await reclaimed(database, "run-1")
    await stands(database, await reclaimed(database, "run-1"), Fail(a_failure()))
    await by_hand(database, "run-1", step_retry_count=4, woken_at=seconds_ago(database, 0))
    resumed = await _resume(database)
    row = await row_of(database, "run-1")
    assert resumed.status is Status.PENDING
    assert (row["step"], row["job"], row["resumes"]) == (1, "charge", 1)
    assert (row["step_retry_count"], row["lease_losses"]) == (0, 0)
    for name in ("errored_at", "cancelled_at", "error_message", "awaiting", "lease", "woken_at"):
        assert row[name] is None
    again = await try_claim(database, "run-1")
    assert isinstance(again, Claimed)
    assert (again.attempt, again.resumes) == (1, 1)


async def test_resume_of_a_cancelled_program_leaves_its_old_worker_outside(
    database: Database,
) -> None:
    """Rule R2, rule R14, invariant 3: its lease is gone, though its step is current again."""
    old = await claimed(database, "run-1")
    await database.transact(cancel, "run-1")
    assert (await _resume(database)).status is Status.PENDING
    assert await recorded(database, old, Done()) is None
    assert await let_go(database, old) is None
    assert isinstance(await try_claim(database, "run-1", worker="worker-1"), Claimed)
    assert await recorded(database, old, Done()) is None


@pytest.mark.parametrize("step", [0, 2])
async def test_resume_from_another_step(database: Database, step: int) -> None:
    program = await claimed(database, "run-1")
    await stands(database, program, Done(), is_next_mine=False)
    await stands(database, await reclaimed(database, "run-1"), Fail(a_failure()))
    queues = {"reserve": "stock", "ship": "parcels"}
    resumed = await _resume(database, from_step=step, queues=queues)
    assert (resumed.step, resumed.job) == (step, ["reserve", "charge", "ship"][step])
    assert resumed.queue == ["stock", "default", "parcels"][step]


async def test_resume_stays_in_its_queue_when_the_job_is_unknown(database: Database) -> None:
    await submitted(database, "run-1", queue="cards")
    await database.transact(cancel, "run-1")
    assert (await _resume(database, queues={"ship": "parcels"})).queue == "cards"


@pytest.mark.parametrize("step", [-1, 3, 2**31])
async def test_resume_from_a_step_that_is_none_is_refused(database: Database, step: int) -> None:
    await _errored(database)
    before = await row_of(database, "run-1")
    with pytest.raises(NotResumable, match=str(step)):
        await _resume(database, from_step=step)
    assert await row_of(database, "run-1") == before


async def test_resume_is_for_errored_and_cancelled_programs_only(database: Database) -> None:
    """Invariant 6."""
    await submitted(database, "pending")
    await claimed(database, "running")
    await submitted(database, "scheduled")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    await stands(database, await claimed(database, "finished", jobs=["ship"]), Done())
    for run_id in ("pending", "running", "scheduled", "finished"):
        before = await row_of(database, run_id)
        with pytest.raises(NotResumable, match=run_id):
            await _resume(database, run_id)
        assert await row_of(database, run_id) == before


async def test_nobodys_program_is_neither_cancelled_nor_resumed(database: Database) -> None:
    with pytest.raises(ProgramNotFound):
        await database.transact(cancel, "nobody")
    with pytest.raises(ProgramNotFound):
        await _resume(database, "nobody")


async def test_resumes_that_race_resume_once(connect: Connect) -> None:
    processes = [connect() for _ in range(4)]
    await _errored(processes[0])
    answers = await asyncio.gather(*map(_resume, processes), return_exceptions=True)
    assert len([answer for answer in answers if isinstance(answer, Program)]) == 1
    assert len([answer for answer in answers if isinstance(answer, NotResumable)]) == 3
    assert (await row_of(processes[0], "run-1"))["resumes"] == 1


class _Interrupted(Books):
    """A transaction that somebody overtakes after its first query."""

    overtake: Any = None

    async def select(self, query: sa.Select[*tuple[Any, ...]]) -> Any:
        rows = await super().select(query)
        if self.overtake is not None:
            overtake, self.overtake = self.overtake, None
            await overtake
        return rows


@on_postgresql
async def test_resume_that_was_overtaken_never_goes_back_a_step(connect: Connect) -> None:
    """Rule R14, invariant 4: the step that another resume completed is not started again."""
    slow, quick = connect(), connect()
    await _errored(quick)

    async def resume_unless_locked(books: Books) -> None:
        await books.connection.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        await resume(books, "run-1", queues={})

    async def resume_and_fail_at_the_next_step() -> None:
        with suppress(BookkeepingError):
            await quick.transact_within(0.0, resume_unless_locked)
            await stands(quick, await reclaimed(quick, "run-1"), Done(), is_next_mine=False)
            await stands(quick, await reclaimed(quick, "run-1"), Fail(a_failure()))

    async def resume_slowly(books: Books) -> None:
        interrupted = _Interrupted(books.connection, slow)
        interrupted.overtake = resume_and_fail_at_the_next_step()
        await resume(interrupted, "run-1", queues={})

    with suppress(NotResumable):
        await slow.transact(resume_slowly)
    attempts = await attempts_of(quick, "run-1")
    completed = len([attempt for attempt in attempts if attempt.outcome == "done"])
    assert (await row_of(quick, "run-1"))["step"] == completed
