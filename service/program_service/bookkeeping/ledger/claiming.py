"""Claim: take a due program under a lease, for one worker, and keep or drop that lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from program_service.bookkeeping.database import Books
from program_service.bookkeeping.dialects import Sql
from program_service.bookkeeping.lifecycle import Claimed
from program_service.bookkeeping.tables import read_json


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to hold a program; `lease` is a new id that nobody used before: the fence."""

    run_id: str
    lease: str


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: a worker, the jobs it knows, and how long its leases hold."""

    worker: str
    jobs: Sequence[str]
    lease_s: float


async def claim(books: Books, claims: Sequence[Claim], claimant: Claimant) -> list[Claimed | None]:
    """Claim what is due and known; None for each program that is not to be had now (rule R1)."""
    terms: dict[str, Any] = {
        "worker": claimant.worker,
        "known": list(claimant.jobs),
        "lease_s": claimant.lease_s,
    }
    batch = [{"of_run_id": claim.run_id, "new_lease": claim.lease} for claim in claims]
    rows = {row.run_id: row for row in await books.fetch(_claim_unclaimed, batch=batch, **terms)}
    missing = [wish for wish in batch if wish["of_run_id"] not in rows]
    if missing:
        rows |= await _claim_again(books, missing, terms)
    return [_claimed(rows[claim.run_id]) if claim.run_id in rows else None for claim in claims]


async def _claim_again(
    books: Books, batch: list[dict[str, Any]], terms: dict[str, Any]
) -> dict[str, Any]:
    """Claim rows whose lease lapsed or whose callback timed out, and note the lost tries.

    Rows that already carry the new lease are ours: a COMMIT whose answer was lost (rule R4).
    """
    locked = await books.fetch(_lock_claimable, batch=batch, known=terms["known"])
    if not locked:
        return {}
    mine = {row.run_id for row in locked if row.lease == row.new_lease}
    lapsed = [row for row in locked if row.run_id not in mine]
    lost = [row.run_id for row in lapsed if row.lease is not None]
    if lost:
        await books.run(_note_lost_attempts, run_ids=lost)
    wishes = [{"of_run_id": row.run_id, "new_lease": row.new_lease} for row in lapsed]
    if wishes:
        await books.run(_claim_lapsed, batch=wishes, worker=terms["worker"], lease_s=terms["lease_s"])
    held = await books.fetch(_select_held, batch=batch)
    return {row.run_id: row for row in held}


def _claimed(row: Any) -> Claimed:
    return Claimed(
        id=row.id,
        run_id=row.run_id,
        lease=row.lease,
        jobs=read_json(row.jobs),
        step=row.step,
        step_retry_count=row.step_retry_count,
        lease_losses=row.lease_losses,
        program_data=read_json(row.program_data),
        job_data=read_json(row.job_data),
        resumes=row.resumes,
        traceparent=row.traceparent,
    )


@dataclass(frozen=True, slots=True)
class Hold:
    """A program that is being executed under a lease."""

    id: int
    lease: str


async def renew(books: Books, holds: Sequence[Hold], *, lease_s: float) -> set[Hold]:
    """Prolong exactly these leases and return those that still hold (rule R3).

    What is not returned is lost: claimed by another worker, cancelled, or ended by hand.
    """
    batch = [{"of_id": hold.id, "of_lease": hold.lease} for hold in holds]
    rows = await books.fetch(_renew, batch=batch, lease_s=lease_s)
    return {Hold(row.id, row.lease) for row in rows}


COLUMNS = (
    "id, run_id, lease, jobs, step, step_retry_count, lease_losses, program_data, job_data,"
    " resumes, traceparent"
)


def _claim_unclaimed(sql: Sql) -> str:
    return f"""
        UPDATE {sql.programs} AS program
           SET lease = batch.new_lease, claimed_by = :worker, due_at = {sql.later(":lease_s")},
               woken_at = NULL, updated_at = {sql.clock}, version = version + 1
          FROM {sql.batch(of_run_id="text", new_lease="text")}
         WHERE program.run_id = batch.of_run_id
           AND finished_at IS NULL AND errored_at IS NULL AND due_at <= {sql.clock}
           AND job IN {sql.words("known")}
           AND lease IS NULL AND awaiting IS NULL
        RETURNING {COLUMNS}
    """


def _lock_claimable(sql: Sql) -> str:
    return f"""
        SELECT program.run_id, program.lease, batch.new_lease
          FROM {sql.programs} AS program
          JOIN {sql.batch(of_run_id="text", new_lease="text")} ON program.run_id = batch.of_run_id
         WHERE finished_at IS NULL AND errored_at IS NULL
           AND (lease = batch.new_lease
                OR due_at <= {sql.clock} AND job IN {sql.words("known")})
         ORDER BY program.id {sql.lock}
    """


def _note_lost_attempts(sql: Sql) -> str:
    """Write the try that a lost lease began; when it ended nobody knows, so it is noted as now."""
    return f"""
        INSERT INTO {sql.attempts} (run_id, lease, step, attempt, job, worker, finished_at, outcome)
        SELECT run_id, lease, step, 1 + step_retry_count + lease_losses, job, claimed_by,
               {sql.clock}, 'lost'
          FROM {sql.programs} WHERE run_id IN {sql.words("run_ids")}
            ON CONFLICT (run_id, lease, step) DO NOTHING
    """


def _claim_lapsed(sql: Sql) -> str:
    return f"""
        UPDATE {sql.programs} AS program
           SET lease = batch.new_lease, claimed_by = :worker, due_at = {sql.later(":lease_s")},
               woken_at = NULL, updated_at = {sql.clock}, version = version + 1,
               lease_losses = lease_losses + CASE WHEN lease IS NULL THEN 0 ELSE 1 END,
               step_retry_count = step_retry_count + CASE WHEN awaiting IS NULL THEN 0 ELSE 1 END,
               awaiting = NULL
          FROM {sql.batch(of_run_id="text", new_lease="text")}
         WHERE program.run_id = batch.of_run_id
    """


def _select_held(sql: Sql) -> str:
    return f"""
        SELECT {COLUMNS}
          FROM {sql.programs}
          JOIN {sql.batch(of_run_id="text", new_lease="text")}
            ON run_id = of_run_id AND lease = new_lease
         WHERE finished_at IS NULL AND errored_at IS NULL
    """


def _renew(sql: Sql) -> str:
    return f"""
        UPDATE {sql.programs} AS program
           SET due_at = {sql.later(":lease_s")}, woken_at = NULL
          FROM {sql.batch(of_id="bigint", of_lease="text")}
         WHERE program.id = batch.of_id AND program.lease = batch.of_lease
           AND finished_at IS NULL AND errored_at IS NULL
        RETURNING id, lease
    """
