"""Adoption: make the table of the Node library `@emartech/program-executor` ours, in place.

Its workers know no claims and must have stopped. `plan_adoption` looks and changes nothing;
`adopt` is the first migration with an ALTER TABLE in the place of a CREATE TABLE.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import NotAdoptable
from program_service.bookkeeping.ledger.waking import OPEN
from program_service.bookkeeping.migrations import upgrade
from program_service.bookkeeping.migrations.alteration import plain, type_of
from program_service.bookkeeping.tables import Tables, read_json

THEIRS = {
    *("id", "run_id", "jobs", "step", "step_retry_count", "job_data", "program_data"),
    *("finished_at", "errored_at", "error_message", "created_at", "updated_at"),
}
MAX_SHOWN = 20
MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A program that will go on."""

    run_id: str
    step: int
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an adoption would do, or has done; `changes` say it to people, column by column."""

    rows: int
    unfinished: Sequence[Unfinished]
    changes: Sequence[str]


async def plan_adoption(database: Database) -> Plan:
    """Look at the table and say what adopting it would do.

    Raises:
        NotAdoptable: there is no such table, it is not the Node library's, or it holds what must
            be repaired first; the message says what.
    """
    async with database.engine.connect() as connection:
        return await connection.run_sync(_plan, database.tables)


async def adopt(database: Database) -> Plan:
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
            plan = await connection.run_sync(_plan, database.tables)
            await connection.run_sync(upgrade, database.tables, adopts=True)
            return plan
    finally:
        await patient.close()


def _plan(connection: sa.Connection, tables: Tables) -> Plan:
    name = tables.programs.name
    _require_their_table(connection, tables)
    _refuse_duplicates(connection, name)
    count = connection.scalar(sa.text(f"SELECT count(*) FROM {name}"))
    return Plan(
        rows=int(count or 0),
        unfinished=_unfinished(connection, name),
        changes=list(_changes(connection, name, list(tables.programs.columns))),
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


def _unfinished(connection: sa.Connection, name: str) -> list[Unfinished]:
    """Read what will go on, and refuse what could not."""
    rows = connection.execute(
        sa.text(f"SELECT id, run_id, jobs, step FROM {name} WHERE {OPEN} ORDER BY id")
    ).all()
    found = [Unfinished(row.run_id, row.step or 0, read_json(row.jobs)) for row in rows]
    bad = [str(row.id) for row, each in zip(rows, found, strict=True) if not _can_go_on(each)]
    if bad:
        msg = (
            f"{len(bad)} unfinished programs in {name!r} have no job at their step, or jobs that"
            f" are no list of names: id {', '.join(bad[:MAX_SHOWN])}. Repair them, or set their"
            f" finished_at or errored_at; then try again."
        )
        raise NotAdoptable(msg)
    return found


def _can_go_on(program: Unfinished) -> bool:
    jobs: Any = program.jobs
    return (
        isinstance(jobs, list)
        and 0 <= program.step < len(jobs)
        and all(isinstance(job, str) and 0 < len(job) <= MAX_NAME for job in jobs)
    )


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
    beside = ("attempts", "idempotency", "jobs", "workers", "rollups")
    yield f"tables {', '.join(f'{name}_{each}' for each in beside)}: created"
    yield f"view {name}_status: created"
