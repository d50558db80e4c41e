"""Lock: find out which programs other sessions have locked, so that the rest need not wait.

Statements wait for a row for half a second. Where one was waited for in vain, its batch is written
again without it: `lock_free` takes the rows that are free and says which are not, and then nothing
waits any more (protocol rules R1 and R3).
"""

from collections.abc import Collection

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.sql import Sql


async def lock_free(books: Books, run_ids: Collection[str]) -> set[str]:
    """Lock these programs, where nobody else has; return those that somebody else has locked.

    SQLite, whose one writer this transaction is, has none.
    """
    if not books.skips_locked:
        return set()
    batch = [{"of_run_id": run_id} for run_id in sorted(set(run_ids))]
    ours = {row.run_id for row in await books.fetch(_lock_unlocked, batch=batch)}
    there = {row.run_id for row in await books.fetch(_select, batch=batch)}
    return there - ours


def _select(sql: Sql) -> str:
    return f"""
        SELECT {sql.dialect.as_joined} program.run_id FROM {sql.batch(of_run_id="varchar")}
          JOIN {sql.programs} AS program ON program.run_id = batch.of_run_id
    """


def _lock_unlocked(sql: Sql) -> str:
    return f"{_select(sql)} ORDER BY program.id {sql.lock} {sql.dialect.skip_locked}"
