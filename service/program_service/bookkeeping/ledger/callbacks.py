"""Callbacks: what an endpoint says of a step that it took over (protocol rule R9).

A completion may come before the worker recorded the 202, after a timeout, or after the calling
worker died: it counts as long as its step is the current one. It takes the lease over from whoever
holds it, so that no worker's write counts any more, and is then recorded as a worker's outcome is.
"""

import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import datetime

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import JobDataTooLarge, RowUnreadable, StaleStep
from program_service.bookkeeping.flaws import unreadable
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.recording import StepRecord, record
from program_service.bookkeeping.ledger.rows import COLUMNS, Unreadable, claimed_from
from program_service.bookkeeping.lifecycle import (
    Change,
    Claimed,
    Done,
    Fail,
    Json,
    RetryLater,
    Terms,
    settle,
)
from program_service.bookkeeping.retry import Retry
from program_service.bookkeeping.sql import Sql

CALLBACK = "callback"
"""Stands in `attempts.worker` for an outcome that an endpoint reported."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a callback is for: one step of one life of a program, and the try that was called."""

    run_id: str
    step: int
    resumes: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Report:
    """An outcome that an endpoint reports, and what decides about a retry.

    `lease` is the fence that it is recorded under, made before the first try: with it, a second try
    finds the receipt of the first (rule R4).
    """

    ticket: Ticket
    outcome: Done | RetryLater | Fail
    retry: Retry = field(default_factory=Retry)
    draw: float = 1.0
    lease: str = field(default_factory=lambda: secrets.token_hex(8))


async def settle_callback(
    books: Books, report: Report, *, queues: dict[str, str]
) -> tuple[Program, Change]:
    """Record a report: a completion of whatever try, a failure of the current one.

    Return the program as it is then, and what was changed.

    `queues` is {job name: queue}, for the next job.

    Raises:
        StaleStep: the step has moved on, was resumed since, or its program has ended.
        JobDataTooLarge: the job data of the program would be too long.
    """
    ticket, lease = report.ticket, report.lease
    needs_current_try = not isinstance(report.outcome, Done)
    try:
        program = await _current(books, ticket, needs_current_try=needs_current_try)
    except StaleStep:
        if (change := await _recorded_before(books, report)) is None:
            raise
        return await find(books, ticket.run_id), change
    # a new lease fences every worker off
    held = replace(program, lease=lease)
    await books.run(_set_lease, of_id=held.id, lease=lease)
    terms = Terms(report.retry, is_next_mine=False)
    change = settle(held, report.outcome, terms, draw=report.draw)
    queue = queues.get(change.job) or (await find(books, held.run_id)).queue
    now = time.monotonic()
    step = StepRecord(held, change, queue=queue, worker=CALLBACK, began=now, ended=now)
    (recorded,) = await record(books, [step])
    if isinstance(recorded, JobDataTooLarge):
        raise recorded
    books.notes[lease] = change
    return await find(books, held.run_id), change


async def prolong(books: Books, ticket: Ticket, *, within_s: float) -> datetime | None:
    """Move the deadline of a step that is awaited, and return it.

    A worker that still holds the step has its lease, whose end is the deadline then.

    Raises:
        StaleStep: another try is the current one, or as for `settle_callback`.
    """
    program = await _current(books, ticket, needs_current_try=True)
    await books.run(_prolong, of_id=program.id, within_s=within_s)
    return (await find(books, program.run_id)).due_at


async def merge_callback_data(books: Books, ticket: Ticket, patch: Json) -> Json:
    """Merge into the job data of the step, shallowly, and return what they are then.

    Raises:
        StaleStep: another try is the current one, or as for `settle_callback`.
        JobDataTooLarge: the job data of the program would be too long.
    """
    program = await _current(books, ticket, needs_current_try=True)
    (merged,) = await change_job_data(books, [JobDataEdit(program, "merge", patch)])
    if isinstance(merged, JobDataTooLarge):
        raise merged
    assert merged is not None  # the row is locked
    return merged[program.job]


async def _recorded_before(books: Books, report: Report) -> Change | None:
    """Return what an earlier try of this transaction changed, if its receipt stands (rule R4)."""
    change: Change | None = books.notes.get(report.lease)
    run_id, step = report.ticket.run_id, report.ticket.step
    keys = {"run_id": run_id, "step": step, "lease": report.lease}
    return change if change and await books.fetch(_select_receipt, **keys) else None


async def _current(books: Books, ticket: Ticket, *, needs_current_try: bool) -> Claimed:
    """Lock the program's row and read it, if the ticket is still good for it.

    Raises:
        StaleStep: it is not.
        RowUnreadable: the row has a flaw; the worker that claims it next sets it aside.
    """
    rows = await books.fetch(_lock, run_id=ticket.run_id, step=ticket.step, resumes=ticket.resumes)
    if not rows:
        raise StaleStep
    program = claimed_from(rows[0])
    if isinstance(program, Unreadable):
        raise RowUnreadable(unreadable(program.flaw))
    if needs_current_try and program.attempt != ticket.attempt:
        msg = (
            f"This callback is for try {ticket.attempt}; try {program.attempt} is the current one."
        )
        raise StaleStep(msg)
    return program


def _lock(sql: Sql) -> str:
    return f"""
        SELECT {COLUMNS} FROM {sql.programs} AS program
         WHERE run_id = :run_id AND step = :step AND resumes = :resumes AND {sql.is_open}
         {sql.lock}
    """


def _select_receipt(sql: Sql) -> str:
    return f"""
        SELECT step FROM {sql.attempts}
         WHERE run_id = :run_id AND lease = :lease AND step = :step
    """


def _set_lease(sql: Sql) -> str:
    return f"UPDATE {sql.programs} SET lease = :lease WHERE id = :of_id"


def _prolong(sql: Sql) -> str:
    return f"""
        UPDATE {sql.programs}
           SET due_at = {sql.later(":within_s")}, woken_at = NULL
         WHERE id = :of_id AND awaiting IS NOT NULL
    """
