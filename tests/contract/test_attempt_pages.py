"""Pages of attempts: each is read once, whatever order, and no page is longer than its limits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from builders import submitted
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.ledger import pages
from program_service.bookkeeping.ledger.attempts import (
    AttemptPage,
    list_attempts,
    page_of_attempts,
)
from program_service.bookkeeping.ledger.pages import BadCursor, opaque

BEGAN = datetime(2027, 1, 31, 8, tzinfo=UTC)


async def tried(database: Database, count: int, **columns: Any) -> None:
    """Write tries of a program; three at a time end in the same microsecond."""
    await submitted(database, "run-1")
    row = {"run_id": "run-1", "job": "reserve", "outcome": "retry", **columns}
    rows = [
        row
        | {
            "lease": f"{number * 7919 % 1000:032}",
            "step": number % 2,
            "attempt": number,
            "finished_at": BEGAN + timedelta(seconds=number // 3),
        }
        for number in range(count)
    ]
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.attempts), rows)


async def walked(database: Database, **wanted: Any) -> list[AttemptPage]:
    """Return all pages."""
    found, cursor = list[AttemptPage](), None
    while not found or cursor is not None:
        page = await database.read(page_of_attempts, "run-1", cursor=cursor, **wanted)
        found.append(page)
        cursor = page.next_cursor
    return found


@pytest.mark.parametrize("limit", [1, 4, 9, 10, 11])
async def test_pages_have_no_gaps_and_no_doubles_in_either_order(
    database: Database, limit: int
) -> None:
    await tried(database, 10)
    forth = await walked(database, limit=limit)
    back = await walked(database, limit=limit, is_newest_first=True)
    numbers = [each.attempt for page in forth for each in page.attempts]
    assert sorted(numbers) == list(range(10))
    assert numbers == [each.attempt for page in back for each in page.attempts][::-1]
    assert all(len(page.attempts) == limit for page in forth[:-1])
    assert [each.attempt for each in await database.read(list_attempts, "run-1")] == numbers


async def test_page_ends_after_so_many_bytes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 10_000)
    line = {"at": BEGAN.isoformat(), "level": "info", "text": "z" * 1_500}
    await tried(database, 9, error_message="x" * 1_000, traceback="y" * 1_500, log=[line])
    found = await walked(database)
    assert [len(page.attempts) for page in found] == [2, 2, 2, 2, 1]


async def test_program_without_tries_has_an_empty_page(database: Database) -> None:
    await submitted(database, "run-1")
    assert await walked(database) == [AttemptPage([], None)]


async def test_tries_of_another_program_are_never_seen(database: Database) -> None:
    await tried(database, 3)
    await submitted(database, "run-2")
    page = await database.read(page_of_attempts, "run-1", limit=1)
    other = await database.read(page_of_attempts, "run-2", cursor=page.next_cursor)
    assert other.attempts == []
    with pytest.raises(ProgramNotFound):
        await database.read(page_of_attempts, "run-3")


@pytest.mark.parametrize(
    "cursor", ["", "?", opaque({}), opaque({"id": 1}), opaque({"lease": 1, "step": "a"})]
)
async def test_cursor_of_something_else_is_refused(database: Database, cursor: str) -> None:
    await tried(database, 1)
    with pytest.raises(BadCursor):
        await database.read(page_of_attempts, "run-1", cursor=cursor)
