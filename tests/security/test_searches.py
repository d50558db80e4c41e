"""Searches: however many there are, and for what, everything else is served as before."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from builders import JOBS
from patience import eventually
from program_service.api import programs, searches
from program_service.api.searches import AT_A_TIME
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import Page
from servers import on_postgresql, on_sqlite
from serving import Service, problem_of, serving

SEARCHES = 16
DAY = timedelta(days=1)


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve."""
    async with serving(database, jobs=JOBS) as served:
        yield served


def lately(days: float = 1) -> str:
    """Return a moment so many days ago."""
    return (datetime.now(UTC) - days * DAY).isoformat()


async def test_searches_have_a_share_of_their_own(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, running, most = asyncio.Event(), 0, 0

    async def slow(_books: Books, _wanted: Any, **_options: Any) -> Page:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return Page([], None)

    monkeypatch.setattr(programs, "list_programs", slow)
    asked = [
        asyncio.create_task(
            service.client.get("/programs", params={"error": "x", "created_after": lately()})
        )
        for _ in range(SEARCHES)
    ]
    await eventually(lambda: _is(sum(each.done() for each in asked) == SEARCHES - AT_A_TIME))
    for each in [each for each in asked if each.done()]:
        answer = await each
        problem = problem_of(answer, 503, "searches_busy")
        assert answer.headers["retry-after"] == "1"
        assert f"{AT_A_TIME} searches" in problem["detail"]
    for _ in range(SEARCHES):
        assert (await service.client.get("/readyz")).status_code == 200
    run_id = (await service.submit("reserve"))["run_id"]
    assert (await service.get(run_id))["run_id"] == run_id
    gate.set()
    statuses = [(await each).status_code for each in asked]
    assert statuses.count(200) == most == AT_A_TIME


@on_postgresql
async def test_search_that_takes_long_is_ended_by_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(books: Books, _wanted: Any, **_options: Any) -> Page:
        await books.select(sa.select(sa.func.pg_sleep(20)))
        return Page([], None)

    monkeypatch.setattr(programs, "list_programs", slow)
    monkeypatch.setattr(searches, "STATEMENT_S", 0.5)
    async with serving(database, jobs=JOBS) as service:
        answer = await service.client.get("/programs?status=errored")
        assert "0.5 s" in problem_of(answer, 422, "search_too_long")["detail"]
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%'"
            " AND state = 'active' AND pid <> pg_backend_pid()"
        )
        async with database.engine.connect() as connection:
            assert (await connection.execute(sa.text(running))).scalar() == 0


@on_sqlite
@pytest.mark.parametrize(
    ("after", "before", "status"),
    [
        ("1970-01-01T00:00:00Z", None, 422),
        ("1970-01-01T00:00:00Z", "1970-01-20T00:00:00Z", 200),
        ("1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", 422),
        ("0001-01-01T00:00:00Z", None, 422),
        ("9999-12-31T00:00:00Z", None, 200),
        (lately(31), None, 200),
        (lately(40), None, 422),
        (lately(40), lately(20), 200),
    ],
    ids=range(8),  # moments are others in each process that collects this test
)
async def test_texts_of_errors_are_searched_for_31_days(
    service: Service, after: str, before: str | None, status: int
) -> None:
    bounds = {"created_after": after} | ({"created_before": before} if before else {})
    answer = await service.client.get("/programs", params={"error": "declined", **bounds})
    assert answer.status_code == status, answer.text
    assert ("31 days" in answer.text) == (status == 422)


async def _is(value: bool) -> bool:  # noqa: FBT001 - what is waited for
    return value
