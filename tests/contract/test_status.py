"""Status: the pure function, the SQL expression and the view agree on every row there can be."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import sqlalchemy as sa

from builders import by_hand, claimed, clock_of, seconds_ago, submitted
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.measuring import measure_backlog
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Facts, Status, status_of

NOW = datetime.now(UTC)
FAR = timedelta(days=400)

FACTS: dict[str, tuple[Any, ...]] = {
    "finished_at": (None, NOW - FAR),
    "errored_at": (None, NOW - FAR),
    "cancelled_at": (None, NOW - FAR),
    "claimed_by": (None, "worker-1"),
    "awaiting": (None, 1),
    "step_retry_count": (0, 1),
    "due_at": (None, NOW - FAR, NOW + FAR),
}


def _every_combination() -> Iterator[Facts]:
    for values in product(*FACTS.values()):
        yield Facts(**dict(zip(FACTS, values, strict=True)))


async def _store_every_combination(database: Database) -> dict[str, Status]:
    """Write a row for each combination; return {run_id: what the pure function says}."""
    expected, rows = {}, []
    for number, facts in enumerate(_every_combination()):
        run_id = f"run-{number:03}"
        expected[run_id] = status_of(facts, now=NOW)
        row = {name: getattr(facts, name) for name in FACTS}
        rows.append(row | _the_rest(run_id))
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.programs), rows)
    return expected


def _the_rest(run_id: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"jobs": ["ship"], "program_data": {}, "job_data": {}, "labels": {}}
    moments = {"created_at": NOW, "updated_at": NOW}
    return empty | moments | {"run_id": run_id, "job": "ship", "queue": "default"}


async def test_sql_and_the_pure_function_agree_on_every_combination(database: Database) -> None:
    expected = await _store_every_combination(database)
    assert len(expected) == 2**6 * 3
    assert set(expected.values()) == set(Status)
    page = await database.read(list_programs, Filter(), limit=1_000)
    assert {program.run_id: program.status for program in page.programs} == expected


async def test_view_and_the_pure_function_agree_on_every_combination(database: Database) -> None:
    expected = await _store_every_combination(database)
    name = f"{database.tables.programs.name}_status"
    view = sa.table(name, sa.column("run_id"), sa.column("status"))

    async def select(books: Books) -> dict[str, str]:
        rows = await books.select(sa.select(view.c.run_id, view.c.status))
        return {row.run_id: row.status for row in rows}

    assert await database.read(select) == {run: str(status) for run, status in expected.items()}


async def test_filter_by_status_finds_exactly_the_rows_that_show_it(database: Database) -> None:
    expected = await _store_every_combination(database)
    for status in Status:
        page = await database.read(list_programs, Filter(status=status), limit=1_000)
        found = {program.run_id for program in page.programs}
        assert found == {run_id for run_id, shown in expected.items() if shown is status}


async def test_open_programs_are_counted_by_the_status_that_they_show(database: Database) -> None:
    expected = list((await _store_every_combination(database)).values())
    backlog = await database.read(measure_backlog)
    assert backlog.counts == {
        status: expected.count(status) for status in Status if not status.is_final
    }


async def test_view_shows_every_column_of_the_table(database: Database) -> None:
    await submitted(database, "run-1")
    name = f"{database.tables.programs.name}_status"

    async def select(books: Books) -> list[str]:
        rows = await books.fetch(lambda _: f"SELECT * FROM {name}")
        return [str(name) for name in rows[0]._fields]

    columns = [column.name for column in database.tables.programs.columns]
    assert await database.read(select) == [*columns, "status"]


async def test_status_follows_a_row_that_somebody_edits_by_hand(database: Database) -> None:
    """It is not stored, so it cannot be stale."""
    await claimed(database, "run-1")
    steps: list[tuple[dict[str, Any], Status]] = [
        ({}, Status.RUNNING),
        ({"errored_at": NOW}, Status.ERRORED),
        ({"errored_at": None, "claimed_by": None, "lease": None}, Status.SCHEDULED),
        ({"due_at": seconds_ago(database, 1)}, Status.PENDING),
        ({"awaiting": 1}, Status.WAITING),
        ({"finished_at": NOW}, Status.FINISHED),
    ]
    for columns, status in steps:
        if columns:
            await by_hand(database, "run-1", **columns)
        assert (await database.read(find, "run-1")).status is status


async def test_due_now_is_not_due_later(database: Database) -> None:
    await submitted(database, "run-1")
    await database.transact(cancel, "run-1")
    now = await database.read(clock_of)
    await by_hand(database, "run-1", errored_at=None, due_at=now)
    assert (await database.read(find, "run-1")).status is Status.PENDING
