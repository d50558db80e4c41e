"""Endpoints: callback jobs, registered, changed, disabled and deleted by people.

Every function locks the job's row before it reads what its write depends on. Secrets and token keys
are made by the caller, before the first try: a second try finds them in the row, and so knows that
the first one was committed (rule R4).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import (
    BatchRefused,
    JobInProcess,
    JobNeeded,
    JobNotFound,
)
from program_service.bookkeeping.ledger.auditing import Entry, write_if_given
from program_service.bookkeeping.ledger.keys import ROUNDS
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.ledger.registry import (
    CALLBACK,
    Endpoint,
    Job,
    Secret,
    find_job,
    job_from,
)
from program_service.bookkeeping.ledger.status import is_open
from program_service.bookkeeping.ledger.workers import list_workers
from program_service.bookkeeping.sql import Sql

OVERLAP = timedelta(days=1)
"""How long an old secret is still good after another one was put in its place."""

MOST_SECRETS = 5
"""Calls are signed with each: rotations that follow each other quickly drop the oldest secrets."""

UNCOMMITTED = 10_000
"""Ids of programs that may be written and not committed yet while an id beyond them is read."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A callback job as it is now, and what of it is new."""

    job: Job
    is_new: bool
    """Whether no job had this name before."""
    is_new_endpoint: bool
    """Whether it has the secret and the token key that were made for it."""


async def put_endpoint(
    books: Books, wanted: Job, *, brings_secret: bool, beat_s: float, entry: Entry | None = None
) -> Registered:
    """Register or change a callback job, and enable it.

    `wanted.endpoint` holds the secret and the token key that a new endpoint gets. One that is there
    already keeps its token key, and its secrets unless the caller brings one.

    Raises:
        JobInProcess: live workers run a function of this name.
    """
    assert wanted.endpoint is not None
    stored = await _inserted_or_locked(books, wanted)
    await _require_no_function(books, stored, beat_s=beat_s)
    old, new = stored.endpoint, wanted.endpoint
    if old is not None and old.token_key == new.token_key:  # inserted now, or by an earlier try
        is_new = _is_first_registration(stored)
        await _write_put(books, entry, is_new=is_new)
        return Registered(stored, is_new, is_new_endpoint=True)
    if old is not None:
        secrets = old.secrets
        if brings_secret:
            secrets = await _with(books, secrets, new.secrets[0].secret, OVERLAP)
        # what a newer release has stored besides is kept
        new = replace(new, token_key=old.token_key, secrets=secrets, unknown=old.unknown)
    await books.run(_update_endpoint, **_as_row(replace(wanted, endpoint=new)))
    job = await find_job(books, wanted.name)
    await _write_put(books, entry, is_new=False)
    return Registered(job, is_new=False, is_new_endpoint=old is None)


async def _write_put(books: Books, entry: Entry | None, *, is_new: bool) -> None:
    detail = {"what": "new" if is_new else "changed"}
    await write_if_given(books, entry and replace(entry, detail=detail))


def _is_first_registration(job: Job) -> bool:
    return job.created_at == job.last_seen_at


async def rotate_secret(
    books: Books, name: str, secret: str, *, overlap: timedelta, entry: Entry | None = None
) -> Job:
    """Sign the calls of a job with this secret, and for a while with the older ones, too.

    A job that is disabled stays so.

    Raises:
        JobNotFound: nobody registered it, or it runs in workers.
    """
    job = await _locked(books, name)
    if job.endpoint is None:
        msg = f"The job {name!r} runs in workers; it has no secret."
        if job.flaw is not None:
            msg = f"The job {name!r} cannot be read, put it again: {job.flaw}"
        raise JobNotFound(msg)
    old, note = job.endpoint.secrets, ("rotate", name, secret)
    is_done = note in books.notes and any(each.secret == secret for each in old)
    if not is_done and old[0].secret != secret:
        books.notes[note] = True
        secrets = await _with(books, old, secret, overlap)
        changed = replace(job.endpoint, secrets=secrets)
        await books.run(_set_endpoint, name=name, endpoint=changed.as_json())
        await write_if_given(books, entry)
    return await find_job(books, name)


async def disable_endpoint(
    books: Books, name: str, *, url: str, registered_at: datetime | None
) -> bool:
    """Stop calling an endpoint that answered 410, until it is put again; say whether it is so.

    Not if the job has another address by now than the one that was called, or was put again since
    it was read, at `registered_at`: the endpoint that is registered now has not answered that.
    """
    try:
        job = await _locked(books, name)
    except JobNotFound:
        return False
    if job.endpoint is None or (job.endpoint.url, job.last_seen_at) != (url, registered_at):
        return False
    await books.run(_disable, name=name)
    return True


async def delete_job(books: Books, name: str, *, beat_s: float, entry: Entry | None = None) -> Job:
    """Delete a job that no program needs, and return it as it was.

    A function is deleted only when no live worker has it, because none would register it again.

    Raises:
        JobNotFound: nobody ever registered it.
        JobInProcess: live workers run a function of this name.
        JobNeeded: programs that have not ended have yet to run it.
    """
    note = ("delete", name)
    try:
        await _require_no_function(books, await find_job(books, name), beat_s=beat_s)
        # on a long table this takes seconds, in which submits of the job do not wait yet
        newest = await _require_no_program(books, name)
        job = await _locked(books, name, is_going=True)
    except JobNotFound:
        if note not in books.notes:
            raise
        deleted: Job = books.notes[note]
        return deleted  # by an earlier try, the answer to whose COMMIT was lost
    await _require_no_function(books, job, beat_s=beat_s)
    await _require_no_program(books, name, after=newest - UNCOMMITTED)
    await books.run(_delete, name=name)
    books.notes[note] = job
    await write_if_given(books, entry)
    return job


async def _inserted_or_locked(books: Books, wanted: Job) -> Job:
    """Insert a job, or lock the one of its name; again if that is deleted between the two."""
    for _ in range(ROUNDS):
        await books.run(_insert_endpoint, **_as_row(wanted))
        with suppress(JobNotFound):
            return await _locked(books, wanted.name)
    msg = f"the database does not keep the job {wanted.name!r} as it was written"
    raise BatchRefused(msg)


async def _locked(books: Books, name: str, *, is_going: bool = False) -> Job:
    """Lock a job's row and read it; programs that are submitted meanwhile wait if it is going.

    Raises:
        JobNotFound: nobody ever registered it.
    """
    jobs = books.tables.jobs
    rows = await books.select(
        sa.select(jobs).where(jobs.c.name == name).with_for_update(key_share=not is_going)
    )
    if not rows:
        msg = f"Nobody ever registered a job {name!r}."
        raise JobNotFound(msg)
    job = job_from(rows[0])
    if job.flaw is None:
        return job
    try:  # what else cannot be read of a job must not cost it its secrets
        return replace(job, endpoint=Endpoint.of_json(rows[0].endpoint))
    except ValueError:
        return job


async def _require_no_function(books: Books, job: Job, *, beat_s: float) -> None:
    if job.kind == CALLBACK:
        return
    workers = await list_workers(books, beat_s=beat_s)
    names = [worker.name for worker in workers if job.name in worker.jobs]
    if names:
        msg = (
            f"Live workers run a function named {job.name!r}, such as {names[0]!r}: stop them or"
            " take it out of them, or use another name."
        )
        raise JobInProcess(msg)


async def _require_no_program(books: Books, name: str, *, after: int = 0) -> int:
    """Require that no program with an id beyond `after` needs a job; return the newest id.

    Raises:
        JobNeeded: programs that have not ended have yet to run it.
    """
    programs = books.tables.programs
    newest = (await books.select(sa.select(sa.func.max(programs.c.id).label("id"))))[0].id or 0
    mentions = sa.cast(programs.c.jobs, sa.Text).contains(
        orjson.dumps(name).decode(), autoescape=True
    )
    open_ones = sa.select(programs.c.run_id, programs.c.jobs, programs.c.step).where(
        is_open(programs), programs.c.id > after, mentions
    )
    needing = [row.run_id for row in await books.select(open_ones) if _may_need(row, name)]
    if needing:
        msg = (
            f"{len(needing)} programs have yet to run {name!r}, such as {needing[0]}: cancel them,"
            " or wait for their end."
        )
        raise JobNeeded(msg)
    return int(newest)


def _may_need(row: Any, job: str) -> bool:
    """Say whether a program has yet to run a job; of a row with a flaw nobody knows."""
    if type(row.jobs) is not list or type(row.step) is not int:
        return True
    return job in row.jobs[max(0, row.step) :]


async def _with(
    books: Books, before: Sequence[Secret], secret: str, overlap: timedelta
) -> list[Secret]:
    """Put a secret first; those before it are good for a while longer, unless there is no overlap.

    A receiver may still know an older one only: of several rotations in a row, it is told later.
    """
    if before[0].secret == secret:
        return list(before)
    now = await read_clock(books)
    newest, *older = (each for each in before if each.secret != secret)
    kept = [
        replace(newest, expires_at=now + overlap),
        *(each for each in older if _is_good(each, now)),
    ]
    return [Secret(secret), *(kept if overlap else [])][:MOST_SECRETS]


def _is_good(secret: Secret, now: datetime) -> bool:
    return secret.expires_at is None or secret.expires_at > now


def _as_row(job: Job) -> dict[str, Any]:
    assert job.endpoint is not None
    return {
        "name": job.name,
        "kind": CALLBACK,
        "queue": job.queue,
        "timeout_s": job.timeout_s,
        "policy": job.policy,
        "endpoint": job.endpoint.as_json(),
    }


def _insert_endpoint(sql: Sql) -> str:
    return f"""
        INSERT INTO {sql.jobs} (
            name, kind, queue, timeout_s, policy, created_at, last_seen_at, endpoint, disabled_at
        )
        VALUES (:name, :kind, :queue, :timeout_s, :policy, {sql.clock}, {sql.clock}, :endpoint,
                NULL)
        {sql.dialect.or_ignore(sql.jobs, ["name"])}
    """


def _update_endpoint(sql: Sql) -> str:
    return f"""
        UPDATE {sql.jobs}
           SET kind = :kind, queue = :queue, timeout_s = :timeout_s, policy = :policy,
               last_seen_at = {sql.clock}, endpoint = :endpoint, disabled_at = NULL
         WHERE name = :name
    """


def _set_endpoint(sql: Sql) -> str:
    return f"UPDATE {sql.jobs} SET endpoint = :endpoint WHERE name = :name"


def _disable(sql: Sql) -> str:
    return f"""
        UPDATE {sql.jobs} SET disabled_at = {sql.clock} WHERE name = :name AND disabled_at IS NULL
    """


def _delete(sql: Sql) -> str:
    return f"DELETE FROM {sql.jobs} WHERE name = :name"
