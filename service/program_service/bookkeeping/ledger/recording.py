"""Record: write what became of steps, fenced by their leases, in one statement for any mix.

Every write of a worker says `lease = mine AND step = n` and finds only rows that have not ended
(rule R2). What it finds gets absolute values, and a row in `attempts` as receipt, so that a
transaction whose COMMIT answer was lost can be tried again (rule R4).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.errors import JobDataTooLarge, RowLocked
from program_service.bookkeeping.ledger.counting import (
    FINISHED,
    LET_GO,
    Tally,
    bucket_of,
    count,
    insert_counts,
)
from program_service.bookkeeping.ledger.job_data import merge_job_data, read_job_data
from program_service.bookkeeping.ledger.locking import lock_free
from program_service.bookkeeping.lifecycle import Change, Claimed, Ending, Json
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import read_moment


@dataclass(slots=True)  # not frozen: see docs/performance.md
class StepRecord:
    """A change to be written: the program as it was claimed, its new facts, the next queue.

    `began` and `ended` are readings of `time.monotonic()`; the database turns their distance from
    the write into moments of its own clock, the only one.
    """

    program: Claimed
    change: Change
    queue: str
    worker: str
    began: float
    ended: float
    log: list[Json] | None = None


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Recorded:
    """The change stands in the table, and so do these facts of the program.

    `due_at` is None for a finished program, and for one that somebody else holds by now.
    """

    job_data: dict[str, Json]
    due_at: datetime | None
    version: int


RecordAnswer: TypeAlias = Recorded | JobDataTooLarge | None
"""What stands in the table, or why nothing was written; None for a lease that was lost."""


async def record(books: Books, records: Sequence[StepRecord]) -> list[RecordAnswer]:
    """Write the changes and their attempts."""
    if len({each.program.id for each in records}) < len(records):
        # an old and a new lease of one program: one at a time, so that each finds its own answer
        return [(await record(books, [each]))[0] for each in records]
    patches = {
        each.program.id: (each.program, each.change.job_data)
        for each in records
        if each.change.job_data
    }
    merged = await merge_job_data(books, patches)
    if refused := merged.refused:
        rest = [each for each in records if each.program.id not in refused]
        written = iter(await record(books, rest) if rest else ())
        return [refused.get(each.program.id) or next(written) for each in records]
    batch = [_as_row(each, merged.data.get(each.program.id)) for each in records]
    applied = await _apply(books, batch)
    programs = [each.program for each in records]
    unmerged = patches.keys() - merged.data.keys()
    stale = [of_id for of_id in applied if of_id in unmerged] + _changed_by_others(
        programs, applied
    )
    fresh = await read_job_data(books, stale)
    known = {program.id: program.job_data for program in programs} | merged.data | fresh
    return [
        Recorded(known[program.id], *applied[program.id]) if program.id in applied else None
        for program in programs
    ]


async def record_unlocked(
    books: Books, records: Sequence[StepRecord]
) -> list[RecordAnswer | RowLocked]:
    """Write like `record`, but wait for no program: leave those that another session has locked."""
    locked = await lock_free(books, [each.program.run_id for each in records])
    free = [each for each in records if each.program.run_id not in locked]
    written = iter(await record(books, free) if free else ())
    return [RowLocked() if each.program.run_id in locked else next(written) for each in records]


@one_change
async def record_at_once(books: Books, records: Sequence[StepRecord]) -> list[RecordAnswer]:
    """Write in one statement, with their attempts, what needs nothing to be read before.

    None leaves the question open. Most steps have no job data to merge.
    """
    simple = {
        each.program.id: each
        for each in records
        if not each.change.job_data and each.change.ending is not Ending.LET_GO
    }
    if not simple:
        return [None] * len(records)
    batch = [_as_row(each, None) for each in simple.values()]
    rows = await books.fetch(_change_and_note, batch=batch)
    applied = {row.id: (read_moment(row.due_at), row.version) for row in rows}
    programs = [each.program for each in simple.values()]
    fresh = await read_job_data(books, _changed_by_others(programs, applied))
    known = {program.id: program.job_data for program in programs} | fresh
    return [
        Recorded(known[each.program.id], *applied[each.program.id])
        if simple.get(each.program.id) is each and each.program.id in applied
        else None
        for each in records
    ]


async def read_back(books: Books, step: StepRecord) -> Recorded | None:
    """Find out whether a change stands whose COMMIT was not answered (rule R4).

    The lock waits for that transaction, if it still runs: after it, the receipt is there or never
    will be.
    """
    program = step.program
    await books.run(_lock_one, of_id=program.id)
    keys = {"of_id": program.id, "of_run_id": program.run_id, "of_lease": program.lease}
    for row in await books.fetch(_select_receipts, batch=[keys | {"of_step": program.step}]):
        data = await read_job_data(books, [row.of_id])
        return Recorded(data[row.of_id], read_moment(row.due_at), row.version)
    return None


Applied: TypeAlias = dict[int, tuple[datetime | None, int]]
"""{program id: (due_at, version)} of the rows that stand as wished."""


async def _apply(books: Books, batch: list[dict[str, Any]]) -> Applied:
    """Write what the fences let through, its attempts, their counts; find the rest's receipts."""
    applied: Applied = {}
    for statement, lets_go in ((_change, False), (_let_go, True)):
        rows = [row for row in batch if row["lets_go"] is lets_go]
        if rows:
            written = await books.fetch(statement, batch=rows)
            applied |= {row.id: (read_moment(row.due_at), row.version) for row in written}
    fresh = [row for row in batch if row["of_id"] in applied]
    if fresh:
        await books.run(_insert_attempts, batch=fresh)
        await count(books, [_tally(row) for row in fresh])
    refused = [row for row in batch if row["of_id"] not in applied]
    if refused:
        receipts = await books.fetch(_select_receipts, batch=refused)
        applied |= {row.of_id: (read_moment(row.due_at), row.version) for row in receipts}
    return applied


def _changed_by_others(programs: Sequence[Claimed], applied: Applied) -> list[int]:
    """Return the ids of rows that changed since the worker read them: their job data, perhaps."""
    return [
        program.id
        for program in programs
        if program.id in applied and applied[program.id][1] != program.version + 1
    ]


def _as_row(record: StepRecord, job_data: dict[str, Json] | None) -> dict[str, Any]:
    program, change, now = record.program, record.change, time.monotonic()
    failure = change.failure
    row = {
        "of_id": program.id,
        "of_run_id": program.run_id,
        "of_lease": program.lease,
        "of_step": program.step,
        "of_retry": program.step_retry_count,
        "lets_go": change.ending is Ending.LET_GO,
        "new_step": change.step,
        "new_retry": change.step_retry_count,
        "new_losses": change.lease_losses,
        "new_awaiting": change.awaiting,
        "new_job": change.job,
        "new_queue": record.queue,
        "new_job_data": job_data,
        "new_error": failure.message if failure else None,
        "is_finished": change.ending is Ending.FINISHED,
        "is_errored": change.ending is Ending.ERRORED,
        "keeps_lease": change.is_lease_kept,
        "due_in_s": change.due_in_s,
        "attempt": program.attempt,
        "job": program.job,
        "worker": record.worker,
        "began_in_s": record.began - now,
        "ended_in_s": record.ended - now,
        "outcome": change.outcome,
        "bucket": bucket_of(record.ended - record.began),
        "error_type": failure.type if failure else None,
        "error_code": failure.code if failure else None,
        "traceback": failure.traceback if failure else None,
        "log": record.log,
    }
    # what is left out is NULL; to read a null takes the database as long as to read a value
    return {name: value for name, value in row.items() if value is not None}


def _tally(row: dict[str, Any]) -> Tally:
    """Say as what a change is counted; `_select_tallies` says it in SQL."""
    word = FINISHED if row["is_finished"] else LET_GO if row["lets_go"] else row["outcome"]
    return Tally(row["job"], word, row["worker"], row["bucket"])


CHANGE_COLUMNS = {
    "of_id": "bigint",
    "of_lease": "varchar",
    "of_step": "integer",
    "of_retry": "integer",
    "new_step": "integer",
    "new_retry": "integer",
    "new_losses": "integer",
    "new_awaiting": "integer",
    "new_job": "varchar",
    "new_queue": "varchar",
    "new_job_data": "json",
    "new_error": "text",
    "is_finished": "boolean",
    "is_errored": "boolean",
    "keeps_lease": "boolean",
    "due_in_s": "double precision",
}

ATTEMPT_COLUMNS = {
    "of_run_id": "varchar",
    "of_lease": "varchar",
    "of_step": "integer",
    "attempt": "integer",
    "job": "varchar",
    "worker": "varchar",
    "began_in_s": "double precision",
    "ended_in_s": "double precision",
    "outcome": "varchar",
    "error_type": "varchar",
    "error_code": "varchar",
    "new_error": "text",
    "traceback": "text",
    "log": "json",
}


def _change(sql: Sql) -> str | Script:
    return _change_by(sql, CHANGE_COLUMNS, returning="id, due_at, version")


def _change_and_note(sql: Sql) -> str:
    """Change, write the attempts of what was changed, and count: one parse of the batch."""
    columns = CHANGE_COLUMNS | ATTEMPT_COLUMNS | {"bucket": "integer"}
    returning = "program.id, program.due_at, program.version, batch.*"
    return f"""
        WITH changed AS ({_change_by(sql, columns, returning=returning)}),
             noted AS ({_insert_attempts_of(sql, "changed")}),
             counted AS ({insert_counts(sql, f"({_select_tallies()}) AS tallies")})
        SELECT id, due_at, version FROM changed
    """


def _select_tallies() -> str:
    return f"""
        SELECT job, CASE WHEN is_finished THEN '{FINISHED}' ELSE outcome END AS word, worker,
               bucket, COUNT(*) AS times
          FROM changed GROUP BY job, word, worker, bucket
    """


def _change_by(sql: Sql, columns: dict[str, str], *, returning: str) -> str | Script:
    return sql.update_programs(
        f"""
            step = new_step, step_retry_count = new_retry, lease_losses = new_losses,
            awaiting = new_awaiting, job = new_job, queue = new_queue,
            job_data = COALESCE(new_job_data, program.job_data),
            error_message = COALESCE(new_error, error_message),
            finished_at = CASE WHEN is_finished THEN {sql.clock} END,
            errored_at = CASE WHEN is_errored THEN {sql.clock} END,
            cancelled_at = NULL,
            notify_due_at = CASE WHEN (is_finished OR is_errored) AND notify IS NOT NULL
                                 THEN {sql.clock} END,
            due_at = CASE WHEN is_finished THEN NULL
                          WHEN due_in_s IS NULL THEN due_at
                          ELSE {sql.later("due_in_s")} END,
            woken_at = NULL,
            lease = CASE WHEN keeps_lease THEN lease END,
            claimed_by = CASE WHEN keeps_lease THEN claimed_by END,
            updated_at = {sql.clock}, version = version + 1
        """,
        batch=sql.batch(**columns),
        matching="program.id = of_id",
        where=f"""
            program.lease = of_lease AND step = of_step AND step_retry_count = of_retry
            AND {sql.is_open}
        """,
        returning=returning,
    )


def _let_go(sql: Sql) -> str | Script:
    """Drop the lease of a row that has ended: the one write that final rows allow."""
    return sql.update_programs(
        "lease = NULL, claimed_by = NULL, version = version + 1",
        batch=sql.batch(of_id="bigint", of_lease="varchar"),
        matching="program.id = of_id",
        where="program.lease = of_lease AND (finished_at IS NOT NULL OR errored_at IS NOT NULL)",
        returning="id, due_at, version",
    )


def _insert_attempts(sql: Sql) -> str:
    return _insert_attempts_of(sql, sql.batch(**ATTEMPT_COLUMNS))


def _insert_attempts_of(sql: Sql, rows: str) -> str:
    return f"""
        INSERT INTO {sql.attempts} (
            run_id, lease, step, attempt, job, worker, started_at, finished_at, outcome,
            error_type, error_code, error_message, traceback, log
        )
        SELECT of_run_id, of_lease, of_step, attempt, job, worker, {sql.later("began_in_s")},
               {sql.later("ended_in_s")}, outcome, error_type, error_code, new_error, traceback, log
          FROM {rows}
         WHERE TRUE
        {sql.dialect.or_ignore(sql.attempts, ["run_id", "lease", "step"])}
    """


def _lock_one(sql: Sql) -> str:
    return f"SELECT id FROM {sql.programs} AS program WHERE id = :of_id {sql.lock}"


def _select_receipts(sql: Sql) -> str:
    batch = sql.batch(of_id="bigint", of_run_id="varchar", of_lease="varchar", of_step="integer")
    return f"""
        SELECT batch.of_id, program.version,
               CASE WHEN COALESCE(program.lease, of_lease) = of_lease THEN program.due_at END
                 AS due_at
          FROM {sql.attempts} AS receipt
          JOIN {batch}
            ON receipt.run_id = of_run_id AND receipt.lease = of_lease AND receipt.step = of_step
          JOIN {sql.programs} AS program ON program.id = of_id
         WHERE receipt.outcome <> 'lost'
    """
