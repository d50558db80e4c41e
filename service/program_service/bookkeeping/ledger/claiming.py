"""Claim: take a due program under a lease, for one worker."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.ledger.counting import LOST, NOBODY, Tally, count
from program_service.bookkeeping.ledger.locking import lock_free
from program_service.bookkeeping.ledger.rows import COLUMNS, ClaimedRow, Unreadable, claimed_from
from program_service.bookkeeping.lifecycle import Claimed
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.stored import read_count
from program_service.bookkeeping.suspects import is_suspect, may_be_held


@dataclass(slots=True)  # not frozen: see docs/performance.md
class Claim:
    """A wish to hold a program; `lease` is a new id that nobody used before: the fence."""

    run_id: str
    lease: str


class Ration(Protocol):
    """Jobs of which a worker has room for only some programs."""

    @property
    def jobs(self) -> Sequence[str]:
        """Their names."""

    def admit(self, jobs: Sequence[str]) -> Sequence[bool]:
        """Say of programs at these jobs, in this order, which of them there is room for."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: a worker, the jobs it knows, how long its leases hold, and its slots.

    It has room for any number of programs at `jobs`, and for some at those of the `ration`.
    """

    worker: str
    jobs: Collection[str]
    lease_s: float
    slots: int = 1
    ration: Ration | None = None
    put_off_s: float = 1.0
    """When a suspect is due again that it must not hold beside others."""


class Missed(Enum):
    """Why a program was not to be had."""

    GONE = "gone"
    """It has ended, is not due, or another worker holds it: its wake-up has done its work."""
    UNKNOWN_JOB = "unknown_job"
    """It is due, but for a worker that knows its job."""
    PUT_OFF = "put_off"
    """It lost a lease, and its worker holds too many such suspects: it is due again soon."""
    LOCKED = "locked"
    """Another session has locked its row: it is woken again."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A program is due and known, and its worker has no room for its job; nothing was changed."""

    job: str


Answer: TypeAlias = ClaimedRow | Missed | NoRoom
"""What a claim came to."""


async def claim(
    books: Books, claims: Sequence[Claim], claimant: Claimant, *, suspects: Sequence[int] = ()
) -> list[Answer]:
    """Claim what is due and known, and say of each other program why not (protocol rule R1).

    `suspects` has the number of lost leases of each suspect that the worker holds. Those that it
    must not hold beside them are put off, so that a poison job harms few others (rule R11).
    """
    answers: dict[str, Answer] = {**await _take_unclaimed(books, claims, claimant)}
    missing = [_as_row(claim) for claim in claims if claim.run_id not in answers]
    if missing:
        terms, known = _terms(claimant), [*claimant.jobs, *_rationed(claimant)]
        locked = await books.fetch(_lock_claimable, batch=missing, known=known)
        known_rows = [row for row in locked if row.is_known]
        put_off = _supernumerary(known_rows, suspects, slots=claimant.slots)
        if put_off:
            of_run_ids = [{"of_run_id": run_id} for run_id in put_off]
            await books.run(_put_off, batch=of_run_ids, put_off_s=claimant.put_off_s)
        taken = [row for row in known_rows if row.run_id not in put_off]
        no_room = _without_room(taken, claimant)
        taken = [row for row in taken if row.run_id not in no_room]
        answers |= {row.run_id: Missed.UNKNOWN_JOB for row in locked if not row.is_known}
        # what an earlier try put off is not due any more
        put_off |= books.notes.setdefault("put off", put_off)
        answers |= dict.fromkeys(put_off, Missed.PUT_OFF)
        answers |= no_room
        answers |= await _claim_again(books, taken, terms)
    return [_answer(claim, answers.get(claim.run_id)) for claim in claims]


async def claim_unlocked(
    books: Books, claims: Sequence[Claim], claimant: Claimant, *, suspects: Sequence[int] = ()
) -> list[Answer]:
    """Claim like `claim`, but wait for no row: leave those that another session has locked."""
    locked = await lock_free(books, [each.run_id for each in claims])
    of_locked = [each for each in claims if each.run_id in locked]
    # one that has our lease is ours, by a COMMIT whose answer was lost (rule R4)
    ours = await _read_held(books, [_as_row(each) for each in of_locked])
    left = [each for each in claims if each.run_id not in locked]
    claimed = iter(await claim(books, left, claimant, suspects=suspects) if left else ())
    return [
        _answer(each, ours.get(each.run_id, Missed.LOCKED))
        if each.run_id in locked
        else next(claimed)
        for each in claims
    ]


@one_change
async def claim_at_once(
    books: Books, claims: Sequence[Claim], claimant: Claimant
) -> list[Answer | None]:
    """Claim in one statement what nobody held before; None leaves the question open."""
    taken = await _take_unclaimed(books, claims, claimant)
    claimed = {program.lease: program for program in taken.values()}
    return [claimed.get(claim.lease) for claim in claims]


async def _take_unclaimed(
    books: Books, claims: Sequence[Claim], claimant: Claimant
) -> dict[str, ClaimedRow]:
    """Claim what is due, known, and was never lost; return {run_id: program}."""
    batch, known = [_as_row(claim) for claim in claims], list(claimant.jobs)
    rows = await books.fetch(_claim_unclaimed, batch=batch, known=known, **_terms(claimant))
    return {row.run_id: claimed_from(row) for row in rows}


def _as_row(claim: Claim) -> dict[str, str]:
    return {"of_run_id": claim.run_id, "new_lease": claim.lease}


def _terms(claimant: Claimant) -> dict[str, Any]:
    return {"worker": claimant.worker, "lease_s": claimant.lease_s}


def _answer(wish: Claim, answer: Answer | None) -> Answer:
    """Give a claimed program to the one wish whose lease it got: a batch may name it twice."""
    if isinstance(answer, Claimed | Unreadable) and answer.lease != wish.lease:
        return Missed.GONE
    return answer or Missed.GONE


def _supernumerary(locked: Sequence[Any], held: Sequence[int], *, slots: int) -> set[str]:
    """Return the run_ids of the suspects that one worker must not hold beside its others.

    Those whose new lease stands already were claimed by a try before this one (rule R4).
    """
    ours = (read_count(row.lease_losses) for row in locked if row.lease == row.new_lease)
    beside = [*held, *filter(is_suspect, ours)]
    wished: dict[str, int] = {}
    for row in locked:
        if row.lease != row.new_lease:
            wished.setdefault(row.run_id, _losses_of(row))
    put_off = set()
    for run_id, losses in wished.items():
        if not is_suspect(losses):
            continue
        if may_be_held(losses, beside, slots=slots):
            beside.append(losses)
        else:
            put_off.add(run_id)
    return put_off


def _losses_of(row: Any) -> int:
    """Return how many leases a program has lost once it is claimed."""
    return read_count(row.lease_losses) + (row.lease is not None)


def _rationed(claimant: Claimant) -> Sequence[str]:
    return claimant.ration.jobs if claimant.ration is not None else ()


def _without_room(locked: Sequence[Any], claimant: Claimant) -> dict[str, NoRoom]:
    """Return {run_id: answer} of the programs that their worker has no room for.

    One whose new lease stands already was claimed by a try before this one (rule R4): it comes
    first, and has its place whatever else there is.
    """
    if claimant.ration is None:
        return {}
    of_ration = [row for row in locked if row.job in claimant.ration.jobs]
    of_ration.sort(key=lambda row: row.lease != row.new_lease)
    admitted = claimant.ration.admit([row.job for row in of_ration])
    return {
        row.run_id: NoRoom(row.job)
        for row, is_admitted in zip(of_ration, admitted, strict=True)
        if not is_admitted and row.lease != row.new_lease
    }


async def _claim_again(
    books: Books, locked: Sequence[Any], terms: dict[str, Any]
) -> dict[str, ClaimedRow]:
    """Claim locked rows whose lease lapsed or whose callback timed out; note the lost tries.

    Rows that already carry the new lease are ours: a COMMIT whose answer was lost (rule R4).
    """
    lapsed = [row for row in locked if row.lease != row.new_lease]
    lost = [row for row in lapsed if row.lease is not None]
    if lost:
        await books.run(_note_lost_attempts, run_ids=[row.run_id for row in lost])
        await count(books, [Tally(row.job, LOST, row.claimed_by or NOBODY) for row in lost])
    if lapsed:
        # a lapsed lease is a loss, a callback that did not come a failed try
        changes = [
            {
                "of_run_id": row.run_id,
                "new_lease": row.new_lease,
                "new_losses": _losses_of(row),
                "new_retry": read_count(row.step_retry_count) + (row.awaiting is not None),
            }
            for row in lapsed
        ]
        await books.run(_claim_lapsed, batch=changes, **terms)
    taken_over: set[str] = books.notes.setdefault("taken over", set())
    taken_over.update(row.new_lease for row in lost)
    wishes = [{"of_run_id": row.run_id, "new_lease": row.new_lease} for row in locked]
    return await _read_held(books, wishes, taken_over=taken_over)


async def _read_held(
    books: Books, wishes: Sequence[dict[str, str]], *, taken_over: Collection[str] = ()
) -> dict[str, ClaimedRow]:
    """Read what is held under these leases, and which were taken over; return {run_id: program}."""
    rows = await books.fetch(_select_held, batch=list(wishes)) if wishes else ()
    return {row.run_id: claimed_from(row, is_taken_over=row.lease in taken_over) for row in rows}


def _claim_unclaimed(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            lease = batch.new_lease, claimed_by = :worker, due_at = {sql.later(":lease_s")},
            woken_at = NULL, updated_at = {sql.clock}, version = version + 1
        """,
        batch=sql.batch(of_run_id="varchar", new_lease="varchar"),
        matching="program.run_id = batch.of_run_id",
        where=f"""
            {sql.is_open} AND due_at <= {sql.clock} AND {sql.among("job", "known")}
            AND lease IS NULL AND awaiting IS NULL AND lease_losses = 0
        """,
        returning=COLUMNS,
    )


def _lock_claimable(sql: Sql) -> str:
    return f"""
        SELECT {sql.dialect.as_joined}
               program.run_id, program.lease, batch.new_lease, lease_losses, step_retry_count,
               awaiting, job, claimed_by,
               CASE WHEN {sql.among("job", "known")} THEN 1 ELSE 0 END AS is_known
          FROM {sql.batch(of_run_id="varchar", new_lease="varchar")}
          JOIN {sql.programs} AS program ON program.run_id = batch.of_run_id
         WHERE {sql.is_open}
           AND (lease = batch.new_lease OR due_at <= {sql.clock})
         ORDER BY program.id {sql.lock}
    """


def _put_off(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"due_at = {sql.later(':put_off_s')}, woken_at = NULL",
        batch=sql.batch(of_run_id="varchar"),
        matching="program.run_id = batch.of_run_id",
        where="TRUE",  # they are locked
    )


def _note_lost_attempts(sql: Sql) -> str:
    """Write the try that a lost lease began; when it ended nobody knows, so it is noted as now."""
    return f"""
        INSERT INTO {sql.attempts} (run_id, lease, step, attempt, job, worker, finished_at, outcome)
        SELECT run_id, lease, step, 1 + step_retry_count + lease_losses, job, claimed_by,
               {sql.clock}, '{LOST}'
          FROM {sql.programs} WHERE {sql.among("run_id", "run_ids")}
        {sql.dialect.or_ignore(sql.attempts, ["run_id", "lease", "step"])}
    """


def _claim_lapsed(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            lease = batch.new_lease, claimed_by = :worker, due_at = {sql.later(":lease_s")},
            woken_at = NULL, updated_at = {sql.clock}, version = version + 1,
            lease_losses = new_losses, step_retry_count = new_retry, awaiting = NULL
        """,
        batch=sql.batch(
            of_run_id="varchar", new_lease="varchar", new_losses="integer", new_retry="integer"
        ),
        matching="program.run_id = batch.of_run_id",
        where="TRUE",  # they are locked
    )


def _select_held(sql: Sql) -> str:
    return f"""
        SELECT {COLUMNS}
          FROM {sql.programs}
          JOIN {sql.batch(of_run_id="varchar", new_lease="varchar")}
            ON run_id = of_run_id AND lease = new_lease
         WHERE {sql.is_open}
    """
