"""Locked rows: nobody waits for a row of a program that is not theirs (rules R1 and R3)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from builders import (
    HOUR_S,
    JOBS,
    a_claim,
    a_claimant,
    a_key,
    a_program,
    a_record,
    attempts_of,
    by_hand,
    claimed,
    lapse,
    row_of,
    seconds_ago,
    submitted,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import RowLocked
from program_service.bookkeeping.ledger.claiming import Missed, claim, claim_unlocked
from program_service.bookkeeping.ledger.job_data import (
    JobDataEdit,
    change_job_data,
    change_job_data_unlocked,
)
from program_service.bookkeeping.ledger.recording import (
    Recorded,
    record,
    record_at_once,
    record_unlocked,
)
from program_service.bookkeeping.ledger.registry import (
    IN_PROCESS,
    Job,
    list_jobs,
    register_jobs,
    register_unlocked,
)
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.submitting import (
    Submitted,
    submit,
    submit_at_once,
    submit_unlocked,
)
from program_service.bookkeeping.ledger.waking import find_due, mark_woken, welcome_jobs
from program_service.bookkeeping.lifecycle import Claimed, Done
from servers import Connect, on_servers

pytestmark = on_servers  # SQLite has one writer, for whom everybody waits


@pytest.fixture
def holder(connect: Connect) -> Database:
    """Return the connections of somebody with psql."""
    return connect()


@asynccontextmanager
async def locked(holder: Database, *run_ids: str) -> AsyncGenerator[None]:
    """Hold the rows of programs locked meanwhile."""
    programs = holder.tables.programs
    async with holder.engine.begin() as connection:
        rows = sa.select(programs.c.id).where(programs.c.run_id.in_(run_ids)).with_for_update()
        assert len((await connection.execute(rows)).all()) == len(run_ids)
        yield


async def test_renewal_leaves_a_locked_row_and_says_that_it_is_not_lost(
    database: Database, holder: Database
) -> None:
    """Rule R3: one lock must not cost a worker all its leases."""
    free, held, lost = [await claimed(database, name) for name in ("free", "held", "lost")]
    await database.transact(cancel, "lost")
    before = await row_of(database, "held")
    holds = [Hold(each.id, each.lease) for each in (held, lost, free)]
    async with locked(holder, "held", "lost"):
        # at the first try, and without waiting for a lock's time to be over
        renewals = await database.transact_past_outages(0.0, renew, holds, lease_s=2 * HOUR_S)
    assert [renewals[hold] for hold in holds] == [Renewal.LOCKED, Renewal.LOST, Renewal.RENEWED]
    assert await row_of(database, "held") == before
    renewals = await database.transact(renew, holds[:1], lease_s=HOUR_S)
    assert renewals == {holds[0]: Renewal.RENEWED}


@pytest.mark.parametrize("is_lapsed", [False, True])
async def test_claims_go_ahead_without_the_one_that_is_locked(
    database: Database, holder: Database, *, is_lapsed: bool
) -> None:
    """Rule R1: a claim waits briefly for its own row, and keeps no other program waiting."""
    run_ids = ["free-1", "held", "free-2"]
    for run_id in run_ids:
        await submitted(database, run_id)
        if is_lapsed:
            await try_claim(database, run_id)
            await lapse(database, run_id)
    claims, claimant = [a_claim(run_id) for run_id in run_ids], a_claimant("worker-2", slots=100)
    async with locked(holder, "held"):
        with pytest.raises(RowLocked):
            await database.transact_past_outages(9.0, claim, claims, claimant)
        answers = await database.transact(claim_unlocked, claims, claimant)
    assert [type(answer) for answer in answers] == [Claimed, Missed, Claimed]
    assert answers[1] is Missed.LOCKED
    assert (await row_of(database, "held"))["lease_losses"] == 0
    assert isinstance(await try_claim(database, "held", worker="worker-2"), Claimed)


async def test_program_that_is_ours_is_ours_though_somebody_has_locked_it(
    database: Database, holder: Database
) -> None:
    """Rule R4: the answer to the COMMIT of the claim was lost."""
    await submitted(database, "run-1")
    wish = a_claim("run-1")
    await database.transact(claim, [wish], a_claimant())
    async with locked(holder, "run-1"):
        (answer,) = await database.transact(claim_unlocked, [wish], a_claimant())
    assert isinstance(answer, Claimed)
    assert answer.lease == wish.lease


async def test_program_that_is_not_there_is_not_locked(database: Database) -> None:
    (answer,) = await database.transact(claim_unlocked, [a_claim("nobody")], a_claimant())
    assert answer is Missed.GONE


async def test_outcomes_go_ahead_without_the_one_that_is_locked(
    database: Database, holder: Database
) -> None:
    programs = [await claimed(database, name) for name in ("free-1", "held", "free-2", "gone")]
    await database.transact(cancel, "gone")
    records = [a_record(program, Done()) for program in programs]
    async with locked(holder, "held"):
        for waiting in (record, record_at_once):
            if waiting is record or database.commits_statements:
                with pytest.raises(RowLocked):
                    await database.transact_past_outages(9.0, waiting, records)
        answers = await database.transact(record_unlocked, records)
    assert [type(answer) for answer in answers] == [Recorded, RowLocked, Recorded, type(None)]
    assert (await row_of(database, "held"))["step"] == 0
    (answer,) = await database.transact(record_unlocked, records[1:2])
    assert isinstance(answer, Recorded)
    assert len(await attempts_of(database, "held")) == 1


async def test_edits_go_ahead_without_the_one_that_is_locked(
    database: Database, holder: Database
) -> None:
    programs = [await claimed(database, name) for name in ("free", "held")]
    edits = [JobDataEdit(program, "merge", {"page": 1}) for program in programs]
    async with locked(holder, "held"):
        with pytest.raises(RowLocked):
            await database.transact_past_outages(9.0, change_job_data, edits)
        answers = await database.transact(change_job_data_unlocked, edits)
    assert answers[0] == {"reserve": {"page": 1}}
    assert isinstance(answers[1], RowLocked)


async def test_marks_pass_a_locked_row_by(database: Database, holder: Database) -> None:
    """Rule R5: what could not be marked is said, so that it is not woken again at once."""
    for run_id in ("free", "held"):
        await submitted(database, run_id)
        await by_hand(database, run_id, due_at=seconds_ago(database, 60))
    page = await database.read(find_due, jobs=JOBS, limit=10)
    async with locked(holder, "held"):
        unmarked = await database.transact_past_outages(0.0, mark_woken, page.rows)
    assert [row.run_id for row in unmarked] == ["held"]
    again = await database.read(find_due, jobs=JOBS, limit=10)
    assert [row.run_id for row in again.rows] == ["held"]


async def test_welcome_passes_a_locked_row_by(database: Database, holder: Database) -> None:
    """A worker that starts waits for nobody's row."""
    for run_id in ("free", "held"):
        await submitted(database, run_id)
        await by_hand(database, run_id, due_at=seconds_ago(database, 60))
    async with locked(holder, "held"):
        queues = dict.fromkeys(JOBS, "other")
        await database.transact_past_outages(0.0, welcome_jobs, queues, new=JOBS)
    assert [(await row_of(database, name))["queue"] for name in ("free", "held")] == [
        "other",
        "default",
    ]


@asynccontextmanager
async def locked_job(database: Database, holder: Database, name: str) -> AsyncGenerator[None]:
    """Register the jobs, and hold the row of one locked meanwhile."""
    await database.transact(register_jobs, [_a_job(each) for each in JOBS])
    jobs = holder.tables.jobs
    async with holder.engine.begin() as connection:
        rows = sa.select(jobs.c.name).where(jobs.c.name == name).with_for_update()
        assert (await connection.execute(rows)).all()
        yield


def _a_job(name: str, *, queue: str = "default") -> Job:
    return Job(name, IN_PROCESS, queue, None, {})


async def test_submits_go_ahead_without_those_whose_job_is_locked(
    database: Database, holder: Database
) -> None:
    programs = [
        a_program(f"of-{name}", jobs=[name], idempotency=a_key(name), is_for_known_jobs=True)
        for name in JOBS
    ]
    async with locked_job(database, holder, JOBS[1]):
        if database.commits_statements:
            keyless = [replace(program, idempotency=None) for program in programs]
            written = await database.transact_past_outages(0.0, submit_at_once, keyless)
            assert written is None
        answers = await database.transact_past_outages(0.0, submit_unlocked, programs)
        assert [type(answer) for answer in answers] == [Submitted, RowLocked, Submitted]
        with pytest.raises(RowLocked):
            await database.transact_past_outages(9.0, submit, programs[1:2])
    (answer,) = await database.transact(submit_unlocked, programs[1:2])
    assert isinstance(answer, Submitted)


async def test_jobs_are_registered_without_the_one_that_is_locked(
    database: Database, holder: Database
) -> None:
    moved = [_a_job(name, queue="moved") for name in (*JOBS, "new")]
    async with locked_job(database, holder, JOBS[1]):
        left = await database.transact_past_outages(0.0, register_unlocked, moved)
        assert [job.name for job in left] == [JOBS[1]]
    stored = {job.name: job.queue for job in await database.read(list_jobs)}
    assert stored == {job.name: "moved" for job in moved} | {JOBS[1]: "default"}
