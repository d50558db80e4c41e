"""Renew: prolong the leases of the programs that a worker executes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from program_service.bookkeeping.books import Books, one_change
from program_service.bookkeeping.sql import Script, Sql


@dataclass(frozen=True, slots=True)
class Hold:
    """A program that is being executed under a lease."""

    id: int
    lease: str


class Renewal(Enum):
    """What became of a lease that was to be renewed."""

    RENEWED = "renewed"
    LOST = "lost"
    """Another worker claimed the program, or it was cancelled, or ended by hand."""
    LOCKED = "locked"
    """Another session has locked the row; the lease holds, and is to be renewed soon."""


@one_change
async def renew(books: Books, holds: Sequence[Hold], *, lease_s: float) -> dict[Hold, Renewal]:
    """Prolong exactly these leases, and say what became of each (rule R3).

    It waits for no row: one lock must not cost a worker all its leases.
    """
    rows = await books.fetch(_renew, batch=_as_rows(holds), lease_s=lease_s)
    renewed = {Hold(row.id, row.lease) for row in rows}
    left = [hold for hold in holds if hold not in renewed]
    # what was left out, and is not lost, is locked
    locked = await still_open(books, left) if left else ()
    return (
        dict.fromkeys(renewed, Renewal.RENEWED)
        | dict.fromkeys(left, Renewal.LOST)
        | dict.fromkeys(locked, Renewal.LOCKED)
    )


async def still_open(books: Books, holds: Sequence[Hold]) -> set[Hold]:
    """Return those of these holds whose programs have not ended and are still held so."""
    rows = await books.fetch(_select_open, batch=_as_rows(holds))
    return {Hold(row.id, row.lease) for row in rows}


def _as_rows(holds: Sequence[Hold]) -> list[dict[str, Any]]:
    return [{"of_id": hold.id, "of_lease": hold.lease} for hold in holds]


def _renew(sql: Sql) -> str | Script:
    return sql.update_unlocked(
        f"due_at = {sql.later(':lease_s')}, woken_at = NULL",
        batch=sql.batch(of_id="bigint", of_lease="varchar"),
        matching="program.id = batch.of_id",
        where=f"program.lease = batch.of_lease AND {sql.is_open}",
        returning="id, lease",
    )


def _select_open(sql: Sql) -> str:
    return f"""
        SELECT program.id, program.lease FROM {sql.programs} AS program
          JOIN {sql.batch(of_id="bigint", of_lease="varchar")} ON program.id = batch.of_id
         WHERE program.lease = batch.of_lease AND {sql.is_open}
    """
