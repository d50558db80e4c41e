"""Notify: whose end has yet to be told to the address that its submitter named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.tables import require_moment


@dataclass(frozen=True, slots=True)
class Untold:
    """A program that has ended, and the address to tell; `due_at` as it was read."""

    id: int
    run_id: str
    url: str
    tries: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """What became of telling: told, or given up, or to be tried again after so many seconds."""

    untold: Untold
    again_in_s: float | None


async def find_untold(books: Books, *, limit: int) -> list[Untold]:
    """Find whom to tell now, the longest waiting first."""
    return [
        Untold(row.id, row.run_id, row.notify, row.notify_tries, require_moment(row.notify_due_at))
        for row in await books.fetch(_select_untold, limit=limit)
    ]


async def mark_told(books: Books, told: Sequence[Told]) -> None:
    """Note what became of it, where nothing has changed since (a resume, and a second end)."""
    batch = [
        {
            "of_id": each.untold.id,
            "was_due_at": each.untold.due_at.isoformat(),
            "again_in_s": each.again_in_s,
        }
        for each in told
    ]
    await books.run(_mark_told, batch=batch)


def _select_untold(sql: Sql) -> str:
    return f"""
        SELECT id, run_id, notify, notify_tries, notify_due_at FROM {sql.programs}
         WHERE notify_due_at IS NOT NULL AND notify_due_at <= {sql.clock}
         ORDER BY notify_due_at LIMIT :limit
    """


def _mark_told(sql: Sql) -> str | Script:
    return sql.update_programs(
        f"""
            notify_tries = notify_tries + 1,
            notify_due_at = CASE WHEN again_in_s IS NOT NULL THEN {sql.later("again_in_s")} END
        """,
        batch=sql.batch(of_id="bigint", was_due_at="varchar", again_in_s="double precision"),
        matching="program.id = of_id",
        where=f"{sql.moment('notify_due_at')} = {sql.moment('was_due_at')}",
    )
