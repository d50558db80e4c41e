"""Adoption: make the table of the Node library `@emartech/program-executor` ours, in place.

Its workers know no claims and must have stopped. `plan_adoption` looks and changes nothing;
`adopt` is the first migration with an ALTER TABLE in the place of a CREATE TABLE.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotAdoptable
from program_service.bookkeeping.flaws import flaw_of_facts, flaw_of_program, unreadable
from program_service.bookkeeping.ledger.waking import OPEN
from program_service.bookkeeping.migrations import upgrade
from program_service.bookkeeping.migrations.alteration import plain, type_of
from program_service.bookkeeping.parsing import parse_text
from program_service.bookkeeping.tables import Tables, read_json, require_moment
from program_service.bookkeeping.unstorable import NotStorable

THEIRS = {
    *("id", "run_id", "jobs", "step", "step_retry_count", "job_data", "program_data"),
    *("finished_at", "errored_at", "error_message", "created_at", "updated_at"),
}
MAX_SHOWN = 20
MAX_NAME = 255
MAX_MESSAGE = 255
"""What their column for error messages holds."""
PAGE = 500
"""Rows whose data are read at a time: they may be long."""


class Flawed(Enum):
    """What becomes of unfinished programs that no worker can run."""

    REFUSED = "refused"
    """The table is not adopted before they are repaired."""
    SET_ASIDE = "set aside"
    """They end with an error, and can be resumed when they are repaired."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A program that will go on."""

    run_id: str
    step: int
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Unrunnable:
    """An unfinished program that no worker can run."""

    id: int
    run_id: str
    flaw: str

    def __str__(self) -> str:
        """Name it, and say why."""
        return f"id {self.id}, run_id {self.run_id!r}: {self.flaw}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an adoption would do, or has done; `changes` say it to people, column by column."""

    rows: int
    unfinished: Sequence[Unfinished]
    changes: Sequence[str]
    set_aside: Sequence[Unrunnable] = ()


async def plan_adoption(database: Database, *, flawed: Flawed = Flawed.REFUSED) -> Plan:
    """Look at the table and say what adopting it would do.

    Raises:
        NotAdoptable: there is no such table, it is not the Node library's, or it holds what must
            be repaired first; the message says what.
    """
    async with database.engine.connect() as connection:
        return await connection.run_sync(_plan, database.tables, flawed)


async def adopt(database: Database, *, flawed: Flawed = Flawed.REFUSED) -> Plan:
    """Adopt the table; on PostgreSQL wholly or not at all.

    MariaDB commits each ALTER TABLE: an adoption that was interrupted there is run again.

    Raises:
        NotAdoptable: as for `plan_adoption`, or somebody else does it; nothing was changed.
    """
    patient = database.beside(statement_timeout_s=None)
    try:
        async with patient.alone("migrate") as is_alone, patient.engine.begin() as connection:
            if not is_alone:
                raise NotAdoptable("Somebody else is changing these tables just now; try again.")
            plan = await connection.run_sync(_plan, database.tables, flawed)
            await connection.run_sync(_set_aside, database.tables.programs.name, plan.set_aside)
            await connection.run_sync(upgrade, database.tables, adopts=True)
            return plan
    finally:
        await patient.close()


def _plan(connection: sa.Connection, tables: Tables, flawed: Flawed) -> Plan:
    name = tables.programs.name
    _require_their_table(connection, tables)
    _refuse_duplicates(connection, name)
    found = _read_unfinished(connection, name)
    if found.flawed and flawed is Flawed.REFUSED:
        raise NotAdoptable(_refusal(name, found.flawed))
    count = connection.scalar(sa.text(f"SELECT count(*) FROM {name}"))
    return Plan(
        rows=int(count or 0),
        unfinished=found.sound,
        changes=list(_changes(connection, name, list(tables.programs.columns))),
        set_aside=found.flawed,
    )


def _require_their_table(connection: sa.Connection, tables: Tables) -> None:
    name, inspector = tables.programs.name, sa.inspect(connection)
    if connection.dialect.name == "sqlite":
        msg = "Tables are adopted on PostgreSQL, MariaDB and MySQL; this is SQLite."
        raise NotAdoptable(msg)
    if not inspector.has_table(name):
        msg = f"There is no table {name!r} in this database."
        raise NotAdoptable(msg)
    if inspector.has_table(tables.version_table) and _is_versioned(connection, tables):
        msg = f"The table {name!r} is Program Executor's already; `migrate` brings it up to date."
        raise NotAdoptable(msg)
    missing = THEIRS - {column["name"] for column in inspector.get_columns(name)}
    if missing:
        msg = (
            f"The table {name!r} is not the Node library's: it has no column"
            f" {', '.join(sorted(missing))}."
        )
        raise NotAdoptable(msg)


def _is_versioned(connection: sa.Connection, tables: Tables) -> bool:
    return bool(connection.scalar(sa.text(f"SELECT count(*) FROM {tables.version_table}")))


def _refuse_duplicates(connection: sa.Connection, name: str) -> None:
    """Refuse run_ids that stand twice: the Node library makes them of a clock, without a check."""
    rows = connection.execute(
        sa.text(f"""
            SELECT program.run_id, program.id FROM {name} AS program
              JOIN (SELECT run_id FROM {name} GROUP BY run_id HAVING count(*) > 1) AS twice
                ON twice.run_id = program.run_id
             ORDER BY program.run_id, program.id
        """)
    ).all()
    if not rows:
        return
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(row.run_id, []).append(str(row.id))
    shown = "; ".join(
        f"{run_id} (id {', '.join(of)})" for run_id, of in list(ids.items())[:MAX_SHOWN]
    )
    msg = (
        f"{len(ids)} run_ids stand more than once in {name!r}: {shown}."
        f" Give all but one row of each another run_id, or delete them; then try again."
    )
    raise NotAdoptable(msg)


@dataclass(slots=True)
class Found:
    """The unfinished programs: those that can go on, and the others."""

    sound: list[Unfinished] = field(default_factory=list)
    flawed: list[Unrunnable] = field(default_factory=list)


def _read_unfinished(connection: sa.Connection, name: str) -> Found:
    """Read what will go on, with all its data, and what could not."""
    found, last = Found(), 0
    page = sa.text(f"""
        SELECT id, run_id, jobs, COALESCE(step, 0) AS step, created_at,
               COALESCE(program_data, '{{}}') AS program_data,
               COALESCE(job_data, '{{}}') AS job_data,
               CONCAT(program_data, '') AS program_text, CONCAT(job_data, '') AS job_text
          FROM {name}
         WHERE {OPEN} AND id > :last ORDER BY id LIMIT {PAGE}
    """)
    while rows := connection.execute(page, {"last": last}).all():
        last = rows[-1].id
        for row in rows:
            jobs = read_json(row.jobs)
            if flaw := _flaw_of(row, jobs):
                found.flawed.append(Unrunnable(row.id, row.run_id, flaw))
            else:
                found.sound.append(Unfinished(row.run_id, row.step, jobs))
    return found


def _flaw_of(row: Any, jobs: Any) -> str | None:
    """Return the first flaw of a row."""
    return (
        flaw_of_program(jobs, row.step, read_json(row.program_data), read_json(row.job_data))
        or _flaw_of_names(jobs)
        or _flaw_of_text("program_data", row.program_text)
        or _flaw_of_text("job_data", row.job_text)
        or flaw_of_facts(require_moment(row.created_at), 0, 0)
    )


def _flaw_of_text(column: str, text: str | None) -> str | None:
    """Return what of a column could not be stored by us: it would change when it is read."""
    try:
        parse_text(text or "{}", what=column)
    except NotStorable as error:
        return f"{column}.{error.path} {error.flaw}" if error.path else str(error)
    return None


def _flaw_of_names(jobs: Sequence[str]) -> str | None:
    for at, length in enumerate(map(len, jobs)):
        if not 0 < length <= MAX_NAME:
            return f"jobs[{at}] has {length} characters, and must have 1 to {MAX_NAME}"
    return None


def _refusal(name: str, flawed: Sequence[Unrunnable]) -> str:
    shown = "; ".join(map(str, flawed[:MAX_SHOWN]))
    more = f"; and {len(flawed) - MAX_SHOWN} more" if len(flawed) > MAX_SHOWN else ""
    return (
        f"{len(flawed)} unfinished programs in {name!r} cannot be run: {shown}{more}. Repair them,"
        " set their finished_at or errored_at, or adopt the table with --set-aside, which ends them"
        " with that error; then try again."
    )


def _set_aside(connection: sa.Connection, name: str, flawed: Sequence[Unrunnable]) -> None:
    """End programs with an error, while the table is still theirs."""
    end = sa.text(
        f"UPDATE {name} SET errored_at = CURRENT_TIMESTAMP, error_message = :message WHERE id = :id"
    )
    for each in flawed:
        connection.execute(end, {"id": each.id, "message": unreadable(each.flaw)[:MAX_MESSAGE]})


def _changes(
    connection: sa.Connection, name: str, columns: Sequence[sa.Column[Any]]
) -> Iterator[str]:
    """Say what happens to each column."""
    theirs = {each["name"]: each for each in sa.inspect(connection).get_columns(name)}
    for column in columns:
        new = type_of(connection, column)
        if column.name not in theirs:
            yield f"column {column.name}: added, {new}"
            continue
        old = plain(theirs[column.name]["type"].compile(connection.dialect))
        if old != new:
            yield f"column {column.name}: {old} becomes {new}"
    yield "run_id: unique from now on"
    of_programs = ("attempts", "idempotency", "jobs", "workers", "rollups")
    beside = (*of_programs, "token_keys", "keys", "sessions", "audit")
    yield f"tables {', '.join(f'{name}_{each}' for each in beside)}: created"
    yield f"view {name}_status: created"
