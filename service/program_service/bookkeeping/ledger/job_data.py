"""Job data: changed under the row lock, one job's key at a time, shallowly (protocol rule R10).

The merge is done here and not in SQL: `json_patch` and `JSON_MERGE_PATCH` merge deeply, and drop
nulls.

The job data of a program have a limit, which is checked under the same lock. What is longer than
that already, because the limit was another, may stay and shrink, but not grow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import (
    AlreadyFinal,
    JobDataTooLarge,
    ProgramNotFound,
    RowLocked,
    RowUnreadable,
)
from program_service.bookkeeping.flaws import flaw_of_data, unreadable
from program_service.bookkeeping.ledger.auditing import Entry, write_if_given
from program_service.bookkeeping.ledger.locking import lock_free
from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import read_json

EditKind: TypeAlias = Literal["set", "merge"]


@dataclass(frozen=True, slots=True)
class JobDataEdit:
    """What a running job does to its own job data."""

    program: Claimed
    kind: EditKind
    value: Json


@dataclass(frozen=True, slots=True)
class Merged:
    """Job data with patches merged in, as {program id: job data}; and what is too long for that."""

    data: dict[int, dict[str, Json]] = field(default_factory=dict)
    refused: dict[int, JobDataTooLarge] = field(default_factory=dict)


async def merge_job_data(
    books: Books, patches: Mapping[int, tuple[Claimed, Json | None]]
) -> Merged:
    """Merge {program id: (program, patch)} into the job data as they stand; write nothing."""
    merged = Merged()
    if not patches:
        return merged
    rows = await books.fetch(_lock, batch=[{"of_id": of_id} for of_id in patches])
    for row in rows:
        program, patch = patches[row.id]
        old = read_json(row.job_data)
        new = edited(old, "merge", program.job, patch)
        error = too_large(new, old, most=books.max_job_data_bytes)
        if error is None:
            merged.data[row.id] = new
        elif (row.lease, row.step) == (program.lease, program.step):
            merged.refused[row.id] = error
        # else it is not written: its step has moved on, perhaps by an earlier try (rule R4)
    return merged


async def read_job_data(books: Books, ids: Sequence[int]) -> dict[int, dict[str, Json]]:
    """Return {program id: job data} as it stands now."""
    if not ids:
        return {}
    rows = await books.fetch(_select, batch=[{"of_id": of_id} for of_id in ids])
    return {row.id: read_json(row.job_data) for row in rows}


def edited(
    job_data: dict[str, Json], kind: EditKind, job: str, value: Json | None
) -> dict[str, Json]:
    """Return the job data of a program after an edit of one job's; the later property wins.

    Raises:
        RowUnreadable: somebody else wrote something into the row that is no job data.
    """
    if flaw := flaw_of_data([job], job_data):
        raise RowUnreadable(unreadable(flaw))
    old = job_data.get(job, {}) if kind == "merge" else {}
    return job_data | {job: old | (value or {})}


def too_large(
    new: dict[str, Json], old: dict[str, Json] | None = None, *, most: int
) -> JobDataTooLarge | None:
    """Return an error if job data have grown beyond so many bytes of JSON."""
    size = len(orjson.dumps(new))
    if size <= most or (old is not None and size <= len(orjson.dumps(old))):
        return None
    message = (
        f"the job data of the program would have {size:,} bytes as JSON, and may have {most:,}"
        " (MAX_JOB_DATA_BYTES): store big values elsewhere, and their names here"
    )
    return JobDataTooLarge(message)


Changed: TypeAlias = dict[str, Json] | JobDataTooLarge | None
"""The job data of a program after an edit, or why not; None when the lease was lost."""


async def change_job_data(books: Books, edits: Sequence[JobDataEdit]) -> list[Changed]:
    """Set or merge the job data of running jobs."""
    ids = dict.fromkeys(edit.program.id for edit in edits)
    rows = await books.fetch(_lock, batch=[{"of_id": of_id} for of_id in ids])
    holders = {row.id: (row.lease, row.step) for row in rows}
    before = {row.id: read_json(row.job_data) for row in rows}
    stored: dict[int, dict[str, Json]] = {}
    results: list[Changed] = []
    for edit in edits:
        program = edit.program
        if holders.get(program.id) != (program.lease, program.step):
            results.append(None)
            continue
        old = stored.get(program.id, before[program.id])
        new = edited(old, edit.kind, program.job, edit.value)
        if error := too_large(new, old, most=books.max_job_data_bytes):
            results.append(error)
            continue
        stored[program.id] = new
        results.append(new)
    await _store(books, stored, before)
    return results


async def _store(
    books: Books, new: Mapping[int, dict[str, Json]], old: Mapping[int, dict[str, Json]]
) -> None:
    """Write {program id: job data}, but not again what an earlier try has written (rule R4)."""
    written: set[int] = books.notes.setdefault("job data", set())
    batch = [
        {"of_id": of_id, "new_job_data": data}
        for of_id, data in new.items()
        # compared as JSON: in Python, 1 is equal to true
        if of_id not in written or orjson.dumps(data) != orjson.dumps(old[of_id])
    ]
    written.update(new)
    if batch:
        await books.run(_write, batch=batch)


async def change_job_data_unlocked(
    books: Books, edits: Sequence[JobDataEdit]
) -> list[Changed | RowLocked]:
    """Change like `change_job_data`, but leave programs that another session has locked."""
    locked = await lock_free(books, [edit.program.run_id for edit in edits])
    free = [edit for edit in edits if edit.program.run_id not in locked]
    changed = iter(await change_job_data(books, free) if free else ())
    return [RowLocked() if edit.program.run_id in locked else next(changed) for edit in edits]


async def edit_job_data(  # noqa: PLR0913 - whose data, how, and who did it
    books: Books,
    run_id: str,
    job: str,
    *,
    kind: EditKind,
    value: Json,
    entry: Entry | None = None,
) -> Json:
    """Set or merge a job's data from outside, and return that job's data.

    An errored program may be edited, so that it can be resumed with better data.

    Raises:
        ProgramNotFound: no program has this run_id.
        AlreadyFinal: it has finished.
        JobDataTooLarge: the job data of the program would be too long.
    """
    rows = await books.fetch(_lock_one, run_id=run_id)
    if not rows:
        raise ProgramNotFound
    if rows[0].finished_at is not None:
        msg = "The program has finished; its data do not change any more."
        raise AlreadyFinal(msg)
    old = read_json(rows[0].job_data)
    new = edited(old, kind, job, value)
    if error := too_large(new, old, most=books.max_job_data_bytes):
        raise error
    await _store(books, {rows[0].id: new}, {rows[0].id: old})
    await write_if_given(books, entry)
    return new[job]


def _lock(sql: Sql) -> str:
    return f"""
        SELECT {sql.dialect.as_joined} program.id, program.lease, program.step, program.job_data
          FROM {sql.batch(of_id="bigint")}
          JOIN {sql.programs} AS program ON program.id = of_id
         WHERE {sql.is_open}
         ORDER BY program.id {sql.lock}
    """


def _select(sql: Sql) -> str:
    return f"""
        SELECT id, job_data FROM {sql.programs}
         WHERE id IN (SELECT of_id FROM {sql.batch(of_id="bigint")})
    """


def _lock_one(sql: Sql) -> str:
    return f"""
        SELECT program.id, program.job_data, program.finished_at FROM {sql.programs} AS program
         WHERE program.run_id = :run_id {sql.lock}
    """


def _write(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"job_data = new_job_data, updated_at = {sql.clock}, version = version + 1",
        batch=sql.batch(of_id="bigint", new_job_data="json"),
        matching="program.id = of_id",
        where="TRUE",  # they are locked
    )
