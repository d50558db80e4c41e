"""Builders: programs, claims and records as tests like to say them, and edits made by hand."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import JobDataTooLarge
from program_service.bookkeeping.ledger.attempts import list_attempts
from program_service.bookkeeping.ledger.claiming import Answer, Claim, Claimant, claim
from program_service.bookkeeping.ledger.keys import IdempotencyKey
from program_service.bookkeeping.ledger.reading import Attempt
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord, record
from program_service.bookkeeping.ledger.submitting import (
    NewProgram,
    SubmitResult,
    Submitted,
    submit,
)
from program_service.bookkeeping.lifecycle import (
    Claimed,
    Failure,
    LetGo,
    Outcome,
    RetryLater,
    Terms,
    settle,
)
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.tables import UtcDateTime, require_moment

JOBS = ("reserve", "charge", "ship")
WORKER = "worker-1"
HOUR_S = 3600.0
"""The lease of tests that are not about its end: no stall of the machine outlasts it."""


def a_program(
    run_id: str | None = None, *, jobs: Sequence[str] = JOBS, queue: str = "default", **rest: Any
) -> NewProgram:
    """Make a program to submit."""
    return NewProgram(run_id=run_id or uuid.uuid4().hex, jobs=list(jobs), queue=queue, **rest)


def a_key(key: str, *, owner: str = "shop", body: str = "body") -> IdempotencyKey:
    """Make an idempotency key; `body` stands for the hash of the request."""
    return IdempotencyKey(owner=owner, key=key, request_hash=body)


def a_claim(run_id: str) -> Claim:
    """Wish to hold a program, under a lease that nobody used before."""
    return Claim(run_id=run_id, lease=uuid.uuid4().hex)


def a_claimant(
    worker: str = WORKER,
    *,
    knows: Sequence[str] = JOBS,
    lease_s: float = HOUR_S,
    slots: int = 1,
) -> Claimant:
    """Make a worker that claims."""
    return Claimant(worker=worker, jobs=list(knows), lease_s=lease_s, slots=slots)


def a_record(
    program: Claimed, outcome: Outcome, *, queue: str = "default", **terms: Any
) -> StepRecord:
    """Settle an outcome into a change to be written."""
    now = time.monotonic()
    change = settle(program, outcome, Terms(**terms))
    return StepRecord(program, change, queue=queue, worker=WORKER, began=now, ended=now)


def a_failure(message: str = "the card was refused") -> Failure:
    """Make a failure with all its parts."""
    return Failure(message, type="CardError", traceback="Traceback …", code="card_refused")


def later(message: str = "the bank is closed") -> RetryLater:
    """Make an outcome that asks for a retry."""
    return RetryLater(a_failure(message))


def next_step(program: Claimed, recorded: Recorded) -> Claimed:
    """Return a program as its worker holds it after a step, the lease kept."""
    return replace(
        program,
        step=program.step + 1,
        step_retry_count=0,
        lease_losses=0,
        job_data=recorded.job_data,
        version=recorded.version,
    )


async def submitted(database: Database, run_id: str | None = None, **fields: Any) -> Submitted:
    """Submit one program."""
    (result,) = await submitted_all(database, [a_program(run_id, **fields)])
    assert isinstance(result, Submitted)
    return result


async def submitted_all(database: Database, programs: Sequence[NewProgram]) -> list[SubmitResult]:
    """Submit programs in one transaction."""
    return await database.transact(submit, programs)


async def claimed(
    database: Database, run_id: str | None = None, *, worker: str = WORKER, **fields: Any
) -> Claimed:
    """Submit one program and claim it."""
    program = await submitted(database, run_id, **fields)
    knows = fields.get("jobs", JOBS)
    answer = await try_claim(database, program.run_id, worker=worker, knows=knows)
    assert isinstance(answer, Claimed)
    return answer


async def try_claim(
    database: Database, run_id: str, *, worker: str = WORKER, knows: Sequence[str] = JOBS
) -> Answer:
    """Claim a program that stands in the table."""
    claimant = a_claimant(worker, knows=knows)
    return (await database.transact(claim, [a_claim(run_id)], claimant))[0]


async def reclaimed(database: Database, run_id: str, *, worker: str = "worker-2") -> Claimed:
    """Make a program due now and claim it, whoever holds it."""
    await lapse(database, run_id)
    answer = await try_claim(database, run_id, worker=worker)
    assert isinstance(answer, Claimed)
    return answer


async def recorded(
    database: Database, program: Claimed, outcome: Outcome, **terms: Any
) -> Recorded | None:
    """Record what became of the current step."""
    (answer,) = await database.transact(record, [a_record(program, outcome, **terms)])
    if isinstance(answer, JobDataTooLarge):
        raise answer
    return answer


async def stands(database: Database, program: Claimed, outcome: Outcome, **terms: Any) -> Recorded:
    """Record what became of the current step, which must not be refused."""
    answer = await recorded(database, program, outcome, **terms)
    assert answer is not None
    return answer


async def let_go(database: Database, program: Claimed) -> Recorded | None:
    """Drop the lease of a program that ended behind its worker's back."""
    return await recorded(database, program, LetGo())


async def attempts_of(database: Database, run_id: str) -> list[Attempt]:
    """Return every try of every step."""
    return await database.read(list_attempts, run_id)


async def rollups_of(database: Database) -> list[dict[str, Any]]:
    """Return what was counted."""

    async def select(books: Books) -> list[dict[str, Any]]:
        rows = await books.select(sa.select(books.tables.rollups))
        return [dict(row._mapping) for row in rows]

    return await database.read(select)


async def counts_of(database: Database) -> dict[tuple[str, str, str], int]:
    """Return {(job, outcome, worker): count}, of all minutes and buckets."""
    counts: dict[tuple[str, str, str], int] = {}
    for row in await rollups_of(database):
        key = (row["job"], row["outcome"], row["worker"])
        counts[key] = counts.get(key, 0) + row["count"]
    return counts


async def row_of(database: Database, run_id: str) -> dict[str, Any]:
    """Return all columns of a program's row, also those that the API does not show."""
    programs = database.tables.programs

    async def select(books: Books) -> dict[str, Any]:
        (row,) = await books.select(sa.select(programs).where(programs.c.run_id == run_id))
        return dict(row._mapping)

    return await database.read(select)


async def by_hand(database: Database, run_id: str, **columns: Any) -> None:
    """Edit a row as somebody with psql would."""
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        edit = sa.update(programs).where(programs.c.run_id == run_id).values(**columns)
        assert (await connection.execute(edit)).rowcount == 1


async def scribble(database: Database, run_id: str, column: str, text: str) -> None:
    """Write a text into a JSON column, as somebody with psql would."""
    name = database.tables.programs.name
    cast = "CAST(:text AS json)" if database.engine.dialect.name == "postgresql" else ":text"
    async with database.engine.begin() as connection:
        statement = sa.text(f"UPDATE {name} SET {column} = {cast} WHERE run_id = :run_id")
        await connection.execute(statement, {"text": text, "run_id": run_id})


async def clock_of(books: Books) -> datetime:
    """Read the database's clock."""
    (row,) = await books.fetch(_select_clock)
    return require_moment(row.clock)


def seconds_ago(database: Database, seconds: float) -> sa.ColumnElement[Any]:
    """Return a moment before the database's clock."""
    if database.clock is not None:  # SQLite has none of its own
        return sa.literal(database.clock() - timedelta(seconds=seconds), UtcDateTime())
    return sa.literal_column(database.sql.later(str(-seconds)))


async def overdue(database: Database, run_id: str, seconds: float = 5, **fields: Any) -> None:
    """Submit a program that has been due for so long."""
    await submitted(database, run_id, **fields)
    await by_hand(database, run_id, due_at=seconds_ago(database, seconds))


async def lapse(database: Database, run_id: str) -> None:
    """Let a lease end, a retry or a start come due: one second ago."""
    await by_hand(database, run_id, due_at=seconds_ago(database, 1))


def _select_clock(sql: Sql) -> str:
    return f"SELECT {sql.clock} AS clock"
