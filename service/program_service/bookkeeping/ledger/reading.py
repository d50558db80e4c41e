"""Read: what people see of programs; nothing here changes a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.ledger.pages import (
    BadCursor,
    fitting,
    opaque,
    read_opaque,
    size_of,
)
from program_service.bookkeeping.ledger.showing import shown_program
from program_service.bookkeeping.ledger.status import has_status, is_open, status_expression
from program_service.bookkeeping.lifecycle import Json, Status
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.tables import require_moment

DATA = ("program_data", "job_data")
LONG = ("jobs", "labels", "error_message")
"""The columns whose length counts for a page."""


@dataclass(frozen=True, slots=True)
class Program:
    """A row of the program table with its status, as it was read."""

    run_id: str
    status: Status
    jobs: list[str]
    program_data: Json
    job_data: dict[str, Json]
    step: int
    step_retry_count: int
    finished_at: datetime | None
    errored_at: datetime | None
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    woken_at: datetime | None
    claimed_by: str | None
    lease: str | None
    lease_losses: int
    resumes: int
    awaiting: int | None
    cancelled_at: datetime | None
    job: str
    queue: str
    labels: dict[str, str]
    submitted_by: str | None
    parent_run_id: str | None
    traceparent: str | None
    notify: str | None
    version: int
    id: int

    @property
    def flaw(self) -> str | None:
        """Why its row cannot be read, if it cannot."""
        return None


@dataclass(frozen=True, slots=True)
class FlawedProgram(Program):
    """A program whose row cannot be read; what is shown of it comes from `showing`."""

    why: str

    @property
    def flaw(self) -> str:
        """Why its row cannot be read."""
        return self.why


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one step; `started_at` is None for a try whose worker was lost."""

    step: int
    attempt: int
    job: str
    worker: str | None
    started_at: datetime | None
    finished_at: datetime
    outcome: str
    error_type: str | None
    error_code: str | None
    error_message: str | None
    traceback: str | None
    log: list[Json]
    """The last lines that the job logged: `at`, `level`, `text`, and `fields` where it has some."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; None and empty mean anything."""

    status: Status | None = None
    job: str | None = None
    queue: str | None = None
    labels: Sequence[tuple[str, str]] = ()
    is_in_progress: bool = False
    step_retry_count_gte: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    error: str | None = None
    is_oldest_first: bool = False

    def within(self, labels: Sequence[tuple[str, str]]) -> "Filter":
        """Return the filter that finds, of these, the programs that have these labels, too."""
        return replace(self, labels=[*self.labels, *labels]) if labels else self

    has_data: bool = False
    """Whether `program_data` and `job_data` are read, too; they are empty otherwise."""

    @property
    def is_search(self) -> bool:
        """Whether many rows may be looked at that are not listed."""
        return bool(
            self.status
            or self.job
            or self.queue
            or self.labels
            or self.is_in_progress
            or self.step_retry_count_gte
            or self.error
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some programs, and the cursor of the next page, or None at the end."""

    programs: list[Program]
    next_cursor: str | None


async def find(books: Books, run_id: str) -> Program:
    """Find one program.

    Raises:
        ProgramNotFound: no program has this run_id.
    """
    rows = await books.select(_programs(books).where(books.tables.programs.c.run_id == run_id))
    if not rows:
        raise no_program(run_id)
    return _program(rows[0])


def no_program(run_id: str) -> ProgramNotFound:
    """Return the error of a program that is not there, or must seem so."""
    return ProgramNotFound(f"No program has the run_id {run_id!r}.")


async def find_all(books: Books, run_ids: Sequence[str]) -> list[Program]:
    """Find some programs, those that there are, in no order."""
    wanted = _programs(books).where(books.tables.programs.c.run_id.in_(run_ids))
    return [_program(row) for row in await books.select(wanted)]


async def having_label(books: Books, run_ids: Sequence[str], label: tuple[str, str]) -> set[str]:
    """Return which of these programs have a label."""
    run_id = books.tables.programs.c.run_id
    wanted = sa.select(run_id).where(run_id.in_(run_ids), has_label(books, *label))
    return {row.run_id for row in await books.select(wanted)}


async def list_programs(
    books: Books, wanted: Filter, *, limit: int, cursor: str | None = None
) -> Page:
    """List programs by keyset: never an offset, never a count of all.

    An empty page is the last one: callers ask whether there is any program.

    Raises:
        BadCursor: the cursor is not one of ours.
    """
    page = await _list_page(books, wanted, limit=limit, cursor=cursor)
    while page.next_cursor is not None and not page.programs:
        page = await _list_page(books, wanted, limit=limit, cursor=page.next_cursor)
    return page


async def _list_page(books: Books, wanted: Filter, *, limit: int, cursor: str | None) -> Page:
    ident, conditions = books.tables.programs.c.id, _conditions(books, wanted)
    if cursor is not None:
        last = read_cursor(cursor)
        conditions.append(ident > last if wanted.is_oldest_first else ident < last)
    order = _oldest_first(books, wanted) if wanted.is_oldest_first else ident.desc()
    keys = sa.select(ident).where(*conditions).order_by(order).limit(limit + 1).subquery()
    order = ident.asc() if wanted.is_oldest_first else ident.desc()
    long = LONG + (DATA if wanted.has_data else ())
    size = size_of(books, [books.tables.programs.c[name] for name in long])
    sizes = sa.select(ident, size).join(keys, keys.c.id == ident).order_by(order)
    rows = await books.select(sizes)
    chosen = [row.id for row in fitting(rows, limit)]
    # what is not so any more has left the list
    query = _programs(books, has_data=wanted.has_data).where(ident.in_(chosen), *conditions)
    found = await books.select(query.order_by(order)) if chosen else ()
    has_more = len(chosen) < len(rows)
    return Page([_program(row) for row in found], write_cursor(chosen[-1]) if has_more else None)


async def list_run_ids(books: Books, wanted: Filter, *, limit: int) -> list[str]:
    """List the run_ids of programs, the oldest first, for what is done to all of them."""
    programs = books.tables.programs
    query = sa.select(programs.c.run_id).where(*_conditions(books, wanted))
    rows = await books.select(query.order_by(_oldest_first(books, wanted)).limit(limit))
    return [row.run_id for row in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a program has come: its version, and whether it has ended.

    `due_in_s` is above 0 while nothing happens to it by itself: it starts, or is retried, then.
    """

    version: int
    has_ended: bool
    due_in_s: float = 0.0


async def standings(books: Books, run_ids: Sequence[str]) -> dict[str, Standing]:
    """Return {run_id: how far it has come}, for those who wait for a change."""
    rows = await books.fetch(_select_standings, run_ids=list(run_ids))
    return {row.run_id: _standing(row) for row in rows}


def _standing(row: Any) -> Standing:
    has_ended, due_in_s = bool(row.has_ended), 0.0
    if row.is_idle and not has_ended and row.due_at is not None:
        due_in_s = (require_moment(row.due_at) - require_moment(row.now)).total_seconds()
    return Standing(row.version, has_ended, max(0.0, due_in_s))


def write_cursor(last_id: int) -> str:
    """Make an opaque cursor."""
    return opaque({"id": last_id})


def read_cursor(cursor: str) -> int:
    """Read a cursor.

    Raises:
        BadCursor: it is not one of ours.
    """
    last_id = read_opaque(cursor).get("id")
    if type(last_id) is not int or not 0 <= last_id < 2**63:
        raise BadCursor
    return last_id


def _programs(books: Books, *, has_data: bool = True) -> sa.Select[*tuple[Any, ...]]:
    programs = books.tables.programs
    status = status_expression(programs, books.clock).label("status")
    left_out = {"status", *(() if has_data else DATA)}
    return sa.select(
        status, *(programs.c[name] for name in Program.__slots__ if name not in left_out)
    )


def _program(row: Any) -> Program:
    values, flaw = shown_program({"program_data": {}, "job_data": {}} | row._asdict())
    values["status"] = Status(values["status"])
    return Program(**values) if flaw is None else FlawedProgram(**values, why=flaw)


def _oldest_first(books: Books, wanted: Filter) -> sa.ColumnElement[int]:
    """Order by id; what has not ended is found by its own index, and sorted.

    It is mostly young, which no database expects: by the primary key all that ended would be read
    before it.
    """
    ident, status = books.tables.programs.c.id, wanted.status
    is_open_only = wanted.is_in_progress or (status is not None and not status.is_final)
    return ident + 0 if is_open_only else ident


def _conditions(books: Books, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    row = books.tables.programs.c
    given: list[tuple[Any, Callable[[Any], sa.ColumnElement[bool]]]] = [
        (wanted.job, lambda job: row.job == job),
        (wanted.queue, lambda queue: row.queue == queue),
        (wanted.step_retry_count_gte, lambda count: row.step_retry_count >= count),
        (wanted.created_after, lambda moment: row.created_at > moment),
        (wanted.created_before, lambda moment: row.created_at < moment),
        (wanted.error, lambda text: _has_text(books, row.error_message, text)),
        (wanted.status, lambda status: has_status(books.tables.programs, books.clock, status)),
    ]
    conditions = [condition(value) for value, condition in given if value is not None]
    if wanted.is_in_progress:
        conditions.append(is_open(books.tables.programs))
    conditions.extend(has_label(books, key, value) for key, value in wanted.labels)
    return conditions


def _has_text(books: Books, column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    """Search literally, and in its case: SQLite's LIKE would not."""
    if books.connection.dialect.name == "sqlite":
        return sa.func.instr(column, text) > 0
    return column.contains(text, autoescape=True)


def has_label(books: Books, key: str, value: str) -> sa.ColumnElement[bool]:
    """Return the condition of rows that have a label."""
    labels = books.tables.programs.c.labels
    # one row whose labels are no JSON would fail the search among all
    is_json = sa.func.json_valid(labels) == 1
    if books.connection.dialect.name == "mysql":
        contains = sa.func.json_contains(labels, sa.func.json_object(key, value))
        return sa.case((is_json, contains), else_=0) == 1
    if books.connection.dialect.name == "postgresql":
        # the second condition is the predicate of the partial index
        has_any = sa.text("labels <> '{}'::jsonb")
        return sa.and_(labels.op("@>")(sa.literal({key: value}, labels.type)), has_any)
    readable = sa.case((is_json, labels), else_="{}")
    entry = sa.func.json_each(readable).table_valued("key", "value")
    return sa.exists().where(entry.c.key == key, entry.c.value == value)


def _select_standings(sql: Sql) -> str:
    return f"""
        SELECT run_id, version, due_at, {sql.clock} AS now,
               CASE WHEN {sql.is_open} THEN 0 ELSE 1 END AS has_ended,
               CASE WHEN lease IS NULL AND awaiting IS NULL THEN 1 ELSE 0 END AS is_idle
          FROM {sql.programs} WHERE {sql.among("run_id", "run_ids")}
    """
