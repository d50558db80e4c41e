"""Pages: a list ends a page after so many bytes, and reads no more of them from the database."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from builders import by_hand, submitted
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger import pages, reading
from program_service.bookkeeping.ledger.reading import Filter, Page, Program, list_programs

ROOM = 10_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have 10,000 bytes."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", ROOM)


async def walked(database: Database, **wanted: Any) -> list[Page]:
    """Return all pages of a list."""
    found, cursor = list[Page](), None
    while not found or cursor is not None:
        page = await database.read(list_programs, Filter(**wanted), limit=100, cursor=cursor)
        found.append(page)
        cursor = page.next_cursor
    return found


def run_ids(found: list[Page]) -> list[list[str]]:
    """Return the run_ids of pages."""
    return [[program.run_id for program in page.programs] for page in found]


def data_bytes(programs: list[Program]) -> int:
    """Return how much data a page has."""
    return sum(len(orjson.dumps([each.program_data, each.job_data])) for each in programs)


@pytest.mark.parametrize("is_oldest_first", [True, False])
async def test_page_with_data_ends_after_so_many_bytes_and_nothing_is_skipped(
    database: Database, *, is_oldest_first: bool
) -> None:
    names = [f"run-{number}" for number in range(9)]
    for name in names:
        half = {"text": "é" * 1_000}
        await submitted(database, name, program_data=half, job_data={"reserve": half})
    found = await walked(database, has_data=True, is_oldest_first=is_oldest_first)
    shown = [name for page in run_ids(found) for name in page]
    assert shown == (names if is_oldest_first else names[::-1])
    assert len(found) > 3
    assert all(0 < data_bytes(page.programs) < 2 * ROOM for page in found)


async def test_program_that_is_longer_than_a_page_has_one_of_its_own(database: Database) -> None:
    for number in range(3):
        await submitted(database, f"run-{number}", program_data={"text": "x" * 5 * ROOM})
    found = await walked(database, has_data=True)
    assert run_ids(found) == [["run-2"], ["run-1"], ["run-0"]]


async def test_list_without_data_neither_reads_nor_counts_them(database: Database) -> None:
    for number in range(9):
        await submitted(database, f"run-{number}", program_data={"text": "x" * 5 * ROOM})
    (page,) = await walked(database)
    assert len(page.programs) == 9
    assert all(each.program_data == each.job_data == {} for each in page.programs)


async def test_long_errors_names_and_labels_count(database: Database) -> None:
    for number in range(4):
        await submitted(database, f"error-{number}")
        await by_hand(database, f"error-{number}", error_message="x" * 6_000)
        await submitted(database, f"jobs-{number}", jobs=["reserve"] * 600)
        await submitted(database, f"labels-{number}", labels={"text": "y" * 6_000})
    found = await walked(database)
    assert len(found) == 12
    assert all(len(page.programs) == 1 for page in found)


async def test_filters_hold_on_every_page(database: Database) -> None:
    for number in range(6):
        queue = "odd" if number % 2 else "even"
        await submitted(database, f"run-{number}", queue=queue, program_data={"x": "x" * 9_999})
    found = await walked(database, queue="odd", has_data=True)
    assert run_ids(found) == [["run-5"], ["run-3"], ["run-1"]]


async def test_page_is_empty_only_at_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that end between the two readings of a page leave the list, and no gap in it."""
    for number in range(4):
        await submitted(database, f"run-{number}")
    sizes, ended = pages.fitting, iter(["run-3", "run-2"])

    def meanwhile(rows: Sequence[Any], limit: int) -> Sequence[Any]:
        asked.append(next(ended, None))
        return sizes(rows, limit)

    asked: list[str | None] = []
    monkeypatch.setattr(reading, "fitting", meanwhile)
    select = Books.select

    async def select_after_an_end(books: Books, query: Any) -> Any:
        if asked and (run_id := asked.pop()) is not None:
            await books.connection.execute(
                sa.update(books.tables.programs)
                .where(books.tables.programs.c.run_id == run_id)
                .values(errored_at=books.clock)
            )
        return await select(books, query)

    monkeypatch.setattr(Books, "select", select_after_an_end)
    open_ones = Filter(is_in_progress=True)
    page = await database.transact(list_programs, open_ones, limit=1)
    assert [program.run_id for program in page.programs] == ["run-1"]
    assert page.next_cursor is not None
