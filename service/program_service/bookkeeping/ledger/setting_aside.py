"""Set aside: end a program with an error where nothing of it can be read, or recorded as usual.

It needs nothing of the row but its id and its lease, which fences it as any write of a worker. The
program is errored then: everybody sees it and why, nobody claims it again, and it can be resumed.
"""

from dataclasses import dataclass

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.ledger.counting import Tally, count
from program_service.bookkeeping.lifecycle import Failure
from program_service.bookkeeping.sql import Script, Sql

FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A program under a lease that is to be ended, and why."""

    id: int
    run_id: str
    lease: str
    worker: str
    failure: Failure


async def set_aside(books: Books, aside: SetAside) -> bool:
    """End a program, write the try that it ends with, and count it; say if the lease still held."""
    await books.run(_insert_attempt, batch=[_as_row(aside)])
    is_second_try = _end in books.notes
    books.notes[_end] = aside
    rows = await books.fetch(_end, batch=[_as_row(aside)])
    await count(books, [Tally(row.job, FAILED, aside.worker) for row in rows])
    return bool(rows) or (is_second_try and await _has_ended(books, aside))


@one_change
async def set_aside_alone(books: Books, aside: SetAside) -> bool:
    """End a program and write nothing else: the database refused that."""
    is_second_try = _end in books.notes
    books.notes[_end] = aside
    rows = await books.fetch(_end, batch=[_as_row(aside)])
    return bool(rows) or (is_second_try and await _has_ended(books, aside))


async def _has_ended(books: Books, aside: SetAside) -> bool:
    """Say whether a program has ended with this failure: by an earlier try, then (rule R4)."""
    rows = await books.fetch(_select_error, of_id=aside.id)
    return any(row.error_message == aside.failure.message for row in rows)


def _as_row(aside: SetAside) -> dict[str, object]:
    failure = aside.failure
    return {
        "of_id": aside.id,
        "of_lease": aside.lease,
        "new_error": failure.message,
        "error_type": failure.type,
        "error_code": failure.code,
        "traceback": failure.traceback,
    }


def _insert_attempt(sql: Sql) -> str:
    batch = sql.batch(
        of_id="bigint",
        of_lease="varchar",
        new_error="text",
        error_type="varchar",
        error_code="varchar",
        traceback="text",
    )
    return f"""
        INSERT INTO {sql.attempts} (
            run_id, lease, step, attempt, job, worker, started_at, finished_at, outcome,
            error_type, error_code, error_message, traceback
        )
        SELECT run_id, lease, step, 1 + step_retry_count + lease_losses, job, claimed_by,
               {sql.clock}, {sql.clock}, '{FAILED}',
               batch.error_type, batch.error_code, batch.new_error, batch.traceback
          FROM {sql.programs} AS program
          JOIN {batch} ON program.id = batch.of_id AND program.lease = batch.of_lease
         WHERE {sql.is_open}
        {sql.dialect.or_ignore(sql.attempts, ["run_id", "lease", "step"])}
    """


def _end(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            errored_at = {sql.clock}, error_message = batch.new_error, cancelled_at = NULL,
            awaiting = NULL, woken_at = NULL, lease = NULL, claimed_by = NULL,
            notify_due_at = CASE WHEN notify IS NOT NULL THEN {sql.clock} END,
            updated_at = {sql.clock}, version = version + 1
        """,
        batch=sql.batch(of_id="bigint", of_lease="varchar", new_error="text"),
        matching="program.id = batch.of_id",
        where=f"program.lease = batch.of_lease AND {sql.is_open}",
        returning="id, job",
    )


def _select_error(sql: Sql) -> str:
    return f"""
        SELECT error_message FROM {sql.programs} WHERE id = :of_id AND errored_at IS NOT NULL
    """
