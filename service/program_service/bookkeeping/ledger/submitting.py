"""Submit: write programs down, each exactly once."""

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.errors import JobsNotRegistered, RowLocked
from program_service.bookkeeping.ledger.keys import (
    IdempotencyKey,
    Mismatched,
    Replayed,
    claim_keys,
)
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.lifecycle import Json, Status
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import read_moment, require_moment


@dataclass(frozen=True, slots=True)
class NewProgram:
    """A program to be; its `run_id` is made before the first try, so that trying twice is safe."""

    run_id: str
    jobs: Sequence[str]
    queue: str
    program_data: Json = field(default_factory=dict)
    job_data: dict[str, Json] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    start_at: datetime | None = None
    submitted_by: str | None = None
    parent_run_id: str | None = None
    traceparent: str | None = None
    notify: str | None = None
    idempotency: IdempotencyKey | None = None
    is_for_known_jobs: bool = False
    """Whether it is refused if one of its jobs is registered nowhere when it is written."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A program that stands in the table."""

    id: int
    run_id: str
    queue: str
    created_at: datetime
    updated_at: datetime
    due_at: datetime
    is_due: bool


SubmitResult = Submitted | Replayed | Mismatched


async def submit(books: Books, programs: Sequence[NewProgram]) -> list[SubmitResult]:
    """Write the programs down and return what became of each, in their order.

    Raises:
        JobsNotRegistered: a program that needs it has a job that is registered nowhere.
    """
    if needed := _needed_jobs(programs):
        await _require_registered(books, needed)
    keys = {each.run_id: each.idempotency for each in programs if each.idempotency}
    answers = await claim_keys(books, keys)
    fresh = [program for program in programs if program.run_id not in answers]
    written = await _insert(books, fresh)
    return [answers.get(program.run_id) or written[program.run_id] for program in programs]


async def submit_unlocked(
    books: Books, programs: Sequence[NewProgram]
) -> list[SubmitResult | RowLocked]:
    """Write down like `submit`, but wait for no job: leave programs whose job others have locked.

    Raises:
        JobsNotRegistered: as for `submit`.
    """
    locked = await _locked_jobs(books, _needed_jobs(programs))
    free = [program for program in programs if not _needs(program, locked)]
    keys = {each.run_id: each.idempotency for each in free if each.idempotency}
    answers = await claim_keys(books, keys)
    fresh = [program for program in free if program.run_id not in answers]
    results = {**answers, **await _insert(books, fresh)}
    return [
        RowLocked() if _needs(program, locked) else results[program.run_id] for program in programs
    ]


@one_change
async def submit_at_once(books: Books, programs: Sequence[NewProgram]) -> list[Submitted] | None:
    """Write programs down that have no idempotency key; None leaves the question open.

    It waits for no job: nothing is written if one is locked, or registered nowhere.
    """
    written = await _insert(books, programs, _needed_jobs(programs))
    if len(written) < len({program.run_id for program in programs}):
        return None
    return [written[program.run_id] for program in programs]


def _needs(program: NewProgram, jobs: Container[str]) -> bool:
    return program.is_for_known_jobs and any(job in jobs for job in program.jobs)


def _needed_jobs(programs: Sequence[NewProgram]) -> list[str]:
    return sorted({job for each in programs if each.is_for_known_jobs for job in each.jobs})


async def _require_registered(books: Books, jobs: Sequence[str]) -> None:
    """Keep these jobs from being deleted until the end of the transaction; `delete_job` waits."""
    rows = await books.fetch(_keep_jobs, needed=list(jobs))
    _require_none(set(jobs) - {row.name for row in rows})


async def _locked_jobs(books: Books, needed: Sequence[str]) -> set[str]:
    """Keep those of these jobs that are free; return those that others have locked.

    Raises:
        JobsNotRegistered: one of them is registered nowhere.
    """
    if not needed:
        return set()
    kept = {row.name for row in await books.fetch(_keep_unlocked_jobs, needed=list(needed))}
    left = [job for job in needed if job not in kept]
    there = {row.name for row in await books.fetch(_select_jobs, needed=left)} if left else set()
    _require_none(set(left) - there)
    return there


def _require_none(unknown: Collection[str]) -> None:
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)[:10]))
        msg = f"Unknown jobs: {names}. Start a worker that knows them first."
        raise JobsNotRegistered(msg)


def as_program(new: NewProgram, submitted: Submitted) -> Program:
    """Return the program as it stood when it was written down, without reading it back."""
    return Program(
        id=submitted.id,
        run_id=submitted.run_id,
        status=Status.PENDING if submitted.is_due else Status.SCHEDULED,
        jobs=list(new.jobs),
        program_data=new.program_data,
        job_data=new.job_data,
        step=0,
        step_retry_count=0,
        finished_at=None,
        errored_at=None,
        error_message=None,
        created_at=submitted.created_at,
        updated_at=submitted.updated_at,
        due_at=submitted.due_at,
        woken_at=None,
        claimed_by=None,
        lease=None,
        lease_losses=0,
        resumes=0,
        awaiting=None,
        cancelled_at=None,
        job=new.jobs[0],
        queue=new.queue,
        labels=new.labels,
        submitted_by=new.submitted_by,
        parent_run_id=new.parent_run_id,
        traceparent=new.traceparent,
        notify=new.notify,
        version=1,
    )


async def _insert(
    books: Books, programs: Sequence[NewProgram], needed: Sequence[str] = ()
) -> dict[str, Submitted]:
    """Write programs down; nothing is written if one of the needed jobs is registered nowhere."""
    if not programs:
        return {}
    batch = [_as_row(program) for program in programs]
    if needed:
        count = len(needed)
        written = await books.fetch(
            _insert_if_registered, batch=batch, needed=list(needed), count=count
        )
    else:
        written = await books.fetch(_insert_programs, batch=batch)
    rows = list(written)
    if len(rows) < len(programs):
        # a try before this one was committed though its answer was lost: the rows are ours
        rows = list(await books.fetch(_select_programs, batch=batch))
    starts = {program.run_id: program.start_at for program in programs}
    return {row.run_id: _submitted(row, starts[row.run_id]) for row in rows}


def _as_row(program: NewProgram) -> dict[str, Any]:
    return {
        "new_run_id": program.run_id,
        "new_jobs": list(program.jobs),
        "new_program_data": program.program_data,
        "new_job_data": program.job_data,
        "new_labels": program.labels,
        "new_job": program.jobs[0],
        "new_queue": program.queue,
        "start_at": program.start_at.astimezone(UTC).isoformat() if program.start_at else None,
        "new_submitted_by": program.submitted_by,
        "new_parent": program.parent_run_id,
        "new_traceparent": program.traceparent,
        "new_notify": program.notify,
    }


def _submitted(row: Any, start_at: datetime | None) -> Submitted:
    created_at, due_at = require_moment(row.created_at), read_moment(row.due_at)
    return Submitted(
        id=row.id,
        run_id=row.run_id,
        queue=row.queue,
        created_at=created_at,
        updated_at=require_moment(row.updated_at),
        # NULL only where a lost COMMIT answer let the program finish before it was read back
        due_at=due_at or created_at,
        is_due=start_at is None or start_at <= created_at,
    )


ANSWERED = "id, run_id, queue, created_at, updated_at, due_at"


def _select_jobs(sql: Sql) -> str:
    return f"SELECT name FROM {sql.jobs} WHERE {sql.among('name', 'needed')} ORDER BY name"


def _keep_jobs(sql: Sql) -> str:
    return f"{_select_jobs(sql)} {sql.dialect.keep}"


def _keep_unlocked_jobs(sql: Sql) -> str:
    return f"{_select_jobs(sql)} {sql.dialect.keep_unlocked}"


def _insert_if_registered(sql: Sql) -> str | Script:
    return _insert_where(
        sql, f"(SELECT count(*) FROM ({_keep_unlocked_jobs(sql)}) AS kept) = :count"
    )


def _insert_programs(sql: Sql) -> str | Script:
    return _insert_where(sql, "TRUE")


def _insert_where(sql: Sql, condition: str) -> str | Script:
    batch = sql.batch(
        new_run_id="varchar",
        new_jobs="json",
        new_program_data="json",
        new_job_data="json",
        new_labels="jsonb",
        new_job="varchar",
        new_queue="varchar",
        start_at="varchar",
        new_submitted_by="varchar",
        new_parent="varchar",
        new_traceparent="varchar",
        new_notify="text",
    )
    insert = f"""
        INSERT INTO {sql.programs} (
            run_id, jobs, program_data, job_data, labels, job, queue, step, step_retry_count,
            lease_losses, resumes, version, created_at, updated_at, due_at,
            submitted_by, parent_run_id, traceparent, notify
        )
        SELECT new_run_id, new_jobs, new_program_data, new_job_data, new_labels, new_job, new_queue,
               0, 0, 0, 0, 1, {sql.clock}, {sql.clock},
               COALESCE({sql.moment("start_at")}, {sql.clock}),
               new_submitted_by, new_parent, new_traceparent, new_notify
          FROM {batch}
         WHERE {condition}
        {sql.dialect.or_ignore(sql.programs, ["run_id"])}
    """
    return sql.dialect.insert(insert, returning=ANSWERED, read=_select_programs(sql))


def _select_programs(sql: Sql) -> str:
    return f"""
        SELECT {ANSWERED}
          FROM {sql.programs} JOIN {sql.batch(new_run_id="varchar")} ON run_id = new_run_id
    """
