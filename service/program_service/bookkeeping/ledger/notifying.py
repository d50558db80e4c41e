"""Notify: whose end has yet to be sent to the address that its submitter named.

`notify_due_at` says when it may next be sent. A service process claims a notification by moving
that moment ahead, as far as sending can take; if the process dies, another one claims it then.
A notification that has to wait for its receiver is moved ahead, too: so those that can be sent are
the first ones of the index, however many others there are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.reading import Program, find_all
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import require_moment

OVERDUE_S = 86_400.0
"""A notification is overdue so long after its program ended."""


@dataclass(frozen=True, slots=True)
class Untold:
    """A notification that is due; `tries` were begun, `key` submitted the program."""

    id: int
    run_id: str
    url: str
    key: str | None
    tries: int
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class Put:
    """What to do with a due notification: it is due again after so many seconds, or never."""

    again_in_s: float | None
    tries: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A notification as it was put; `due_at` fences it, None if it is given up."""

    untold: Untold
    put: Put
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome of a claim: sent or given up, or to be tried again after so many seconds."""

    claim: Claim
    tries: int
    again_in_s: float | None = None


Plan = Callable[[Sequence[Untold]], Mapping[int, Put]]


async def is_any_due(books: Books) -> bool:
    """Return whether there is a notification to send."""
    return bool(await books.fetch(_select_any_due))


async def claim_untold(
    books: Books, *, limit: int, plan: Plan, without: Sequence[str] = ()
) -> list[Claim]:
    """Claim the notifications that have been due for longest, as planned.

    `plan` says what to do with each, {id: put}; what it leaves out stays due. It is asked again in
    a transaction that is tried again. Rows that others have locked are left out, and so are the
    run_ids in `without`.
    """
    claimed: list[Claim] = books.notes.get(claim_untold, [])
    if claimed and await _standing(books, claimed):  # the answer to an earlier COMMIT was lost
        return claimed
    untold = [
        Untold(
            row.id,
            row.run_id,
            row.notify or "",
            row.submitted_by,
            row.notify_tries,
            is_overdue=bool(row.is_overdue),
        )
        for row in await books.fetch(
            _lock_untold, limit=limit, overdue_s=-OVERDUE_S, without=list(without)
        )
    ]
    puts = plan(untold)
    if not puts:
        return []
    batch = [
        {"of_id": of_id, "again_in_s": put.again_in_s, "new_tries": put.tries}
        for of_id, put in puts.items()
    ]
    rows = await books.fetch(_put, batch=batch)
    due_at = {row.id: row.notify_due_at and require_moment(row.notify_due_at) for row in rows}
    claims = [Claim(each, puts[each.id], due_at[each.id]) for each in untold if each.id in due_at]
    books.notes[claim_untold] = claims
    return claims


async def find_ended(books: Books, claims: Sequence[Claim]) -> dict[int, Program]:
    """Return {id: program} of claims that stand.

    Those that were resumed or deleted, or are another process's by now, are left out.
    """
    programs = await find_all(books, [claim.untold.run_id for claim in claims])
    # after the programs: while a claim stands there was no resume, and final rows do not change
    standing = await _standing(books, claims)
    return {each.id: each for each in programs if each.id in standing and each.status.is_final}


async def mark_told(books: Books, told: Sequence[Told]) -> list[Told]:
    """Note the outcomes of claims; return those whose rows others have locked.

    A program that was resumed meanwhile, and perhaps has ended again, is left as it is.
    """
    fences = [_fence(each.claim) for each in told]
    standing = await _standing(books, [each.claim for each in told])
    ours = {row.id for row in await books.fetch(_lock_standing, batch=fences)}
    batch = [
        {"of_id": of_id, "again_in_s": each.again_in_s, "new_tries": each.tries}
        for each in told
        if (of_id := each.claim.untold.id) in ours
    ]
    if batch:
        await books.run(_put, batch=batch)
    return [each for each in told if each.claim.untold.id in standing - ours]


async def _standing(books: Books, claims: Sequence[Claim]) -> set[int]:
    """Return the ids of claims that are as they were written."""
    fences = [_fence(claim) for claim in claims if claim.due_at is not None]
    return {row.id for row in await books.fetch(_select_standing, batch=fences)}


def _fence(claim: Claim) -> dict[str, Any]:
    assert claim.due_at is not None
    return {"of_id": claim.untold.id, "was_due_at": claim.due_at.isoformat()}


def _select_any_due(sql: Sql) -> str:
    return f"""
        SELECT id FROM {sql.programs}
         WHERE notify_due_at IS NOT NULL AND notify_due_at <= {sql.clock}
         ORDER BY notify_due_at LIMIT 1
    """


def _lock_untold(sql: Sql) -> str:
    return f"""
        SELECT id, run_id, notify, submitted_by, notify_tries,
               CASE WHEN COALESCE(finished_at, errored_at) < {sql.later(":overdue_s")}
                    THEN 1 ELSE 0 END AS is_overdue
          FROM {sql.programs} AS program
         WHERE notify_due_at IS NOT NULL AND notify_due_at <= {sql.clock}
           AND NOT ({sql.among("run_id", "without")})
         ORDER BY notify_due_at LIMIT :limit {sql.lock} {sql.dialect.skip_locked}
    """


def _put(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            notify_tries = new_tries,
            notify_due_at = CASE WHEN again_in_s IS NOT NULL THEN {sql.later("again_in_s")} END
        """,
        batch=sql.batch(of_id="bigint", again_in_s="double precision", new_tries="integer"),
        matching="program.id = of_id",
        where="TRUE",  # they are locked; not in the words of the index: see docs/adr/0004
        returning="id, notify_due_at",
    )


def _select_standing(sql: Sql) -> str:
    return f"""
        SELECT {sql.dialect.as_joined} program.id
          FROM {sql.batch(of_id="bigint", was_due_at="varchar")}
          JOIN {sql.programs} AS program ON program.id = of_id
         WHERE notify_due_at = {sql.moment("was_due_at")}
    """


def _lock_standing(sql: Sql) -> str:
    return f"{_select_standing(sql)} ORDER BY program.id {sql.lock} {sql.dialect.skip_locked}"
