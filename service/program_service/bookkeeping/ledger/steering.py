"""Steer: cancel and resume, on behalf of people (protocol rule R14).

A try whose COMMIT answer was lost is recognised by what it noted: see `Books.notes`.
"""

from dataclasses import replace

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import AlreadyFinal, NotResumable
from program_service.bookkeeping.flaws import unreadable
from program_service.bookkeeping.ledger.auditing import Entry, write_if_given
from program_service.bookkeeping.ledger.counting import CANCELLED, Tally, count
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.sql import Script, Sql


async def cancel(books: Books, run_id: str, entry: Entry | None = None) -> tuple[Program, bool]:
    """End a program now, also while a worker runs its step; say whether this call ended it.

    What ended it is written into the audit trail, as `entry` says.

    Raises:
        ProgramNotFound: no program has this run_id.
        AlreadyFinal: it has finished or errored.
    """
    note = ("cancel", run_id)
    mine: Program | None = books.notes.get(note)
    if mine and (await find(books, run_id)).resumes > mine.resumes:
        return mine, True  # an earlier try ended it, and somebody has resumed it since
    changed = await books.fetch(_cancel, run_id=run_id)
    program = await find(books, run_id)
    if changed:
        books.notes[note] = mine = program
        await count(books, [Tally(program.job, CANCELLED)])
        await write_if_given(books, entry)
    elif program.cancelled_at is None:
        msg = f"The program has {program.status} already; only one that has not ended is cancelled."
        raise AlreadyFinal(msg)
    return program, mine is not None and mine.cancelled_at == program.cancelled_at


async def resume(
    books: Books,
    run_id: str,
    *,
    queues: dict[str, str],
    from_step: int | None = None,
    entry: Entry | None = None,
) -> Program:
    """Resume an errored or cancelled program, from its step or from another.

    `queues` is {job name: queue}; unknown jobs stay in the queue where the program is.

    Raises:
        ProgramNotFound: no program has this run_id.
        NotResumable: it has not errored, has no such step, or its row cannot be read.
    """
    await books.fetch(_lock, run_id=run_id)  # what is decided below must still hold when written
    program, note = await find(books, run_id), ("resume", run_id)
    if program.resumes >= books.notes.get(note, program.resumes + 1):
        return program  # an earlier try did it, and the answer to its COMMIT was lost
    if program.errored_at is None or program.finished_at is not None:
        msg = f"The program is {program.status}; only an errored or cancelled one can be resumed."
        raise NotResumable(msg)
    step = program.step if from_step is None else from_step
    if not 0 <= step < len(program.jobs):
        msg = f"from_step is {step}; this program has steps 0 to {len(program.jobs) - 1}."
        raise NotResumable(msg)
    if program.flaw is not None and from_step is None:
        msg = f"{unreadable(program.flaw)} Repair it, then resume the program."
        raise NotResumable(msg)
    job = program.jobs[step]
    queue = queues.get(job, program.queue)
    await books.run(_resume, run_id=run_id, step=step, job=job, queue=queue)
    books.notes[note] = program.resumes + 1
    await write_if_given(books, entry and replace(entry, detail={"step": step, "job": job}))
    return await find(books, run_id)


def _cancel(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            errored_at = {sql.clock}, cancelled_at = {sql.clock}, awaiting = NULL,
            notify_due_at = CASE WHEN notify IS NOT NULL THEN {sql.clock} END,
            updated_at = {sql.clock}, version = version + 1
        """,
        where=f"run_id = :run_id AND {sql.is_open}",
        returning="id",
    )


def _resume(sql: Sql) -> str:
    return f"""
        UPDATE {sql.programs}
           SET errored_at = NULL, cancelled_at = NULL, error_message = NULL, awaiting = NULL,
               lease = NULL, claimed_by = NULL, step_retry_count = 0, lease_losses = 0,
               step = :step, job = :job, queue = :queue, resumes = resumes + 1,
               due_at = {sql.clock}, woken_at = NULL,
               notify_due_at = NULL, notify_tries = 0,
               updated_at = {sql.clock}, version = version + 1
         WHERE run_id = :run_id
    """


def _lock(sql: Sql) -> str:
    return f"SELECT id FROM {sql.programs} AS program WHERE run_id = :run_id {sql.lock}"
