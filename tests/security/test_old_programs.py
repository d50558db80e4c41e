"""Old programs: with 30,000 tries, no answer and no page has more than its limits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from builders import JOBS, submitted
from program_executor import AsyncClient
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger import attempts
from program_service.bookkeeping.ledger.pages import MAX_PAGE_BYTES
from program_service.bookkeeping.ledger.showing import shown_attempt
from serving import URL, json_of, serving

TRIES = 30_000
BEGAN = datetime(2027, 1, 31, 8, tzinfo=UTC)
PATH = "/programs/run-1/attempts"


async def tried(database: Database, count: int, **columns: Any) -> None:
    """Write tries of a program."""
    await submitted(database, "run-1")
    row = {"run_id": "run-1", "job": "reserve", "step": 0, "outcome": "yielded", **columns}
    async with database.engine.begin() as connection:
        for first in range(0, count, 5_000):
            rows = [
                row
                | {
                    "lease": f"{number:032}",
                    "attempt": 1,
                    "started_at": BEGAN + timedelta(seconds=number),
                    "finished_at": BEGAN + timedelta(seconds=number + 1),
                }
                for number in range(first, min(count, first + 5_000))
            ]
            await connection.execute(sa.insert(database.tables.attempts), rows)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the tries that are read from the database."""
    count, show = [0], shown_attempt

    def counted(values: Any) -> dict[str, Any]:
        count[0] += 1
        return show(values)

    monkeypatch.setattr(attempts, "shown_attempt", counted)
    return count


async def test_many_checkpoints_are_listed_by_pages_and_a_page_reads_few(
    database: Database, read: list[int]
) -> None:
    await tried(database, TRIES)
    async with serving(database, jobs=JOBS) as service:
        answer = await service.client.get(PATH)
        page = json_of(answer)
        assert len(page["attempts"]) == read[0] == 200
        assert answer.headers["link"] == f'<{PATH}?cursor={page["next_cursor"]}>; rel="next"'
        newest = json_of(await service.client.get(PATH, params={"order": "newest", "limit": 3}))
        ends = [each["finished_at"] for each in newest["attempts"]]
        assert ends == sorted(ends, reverse=True)
        assert ends[0] > page["attempts"][-1]["finished_at"]
        read[0] = 0
        html = await service.client.get("/ui/programs/run-1")
        assert html.status_code == 200
        assert read[0] == 200
        assert "older ones are in" in html.text
        assert len(html.content) < 500_000


async def test_long_tracebacks_end_a_page_and_none_is_skipped(database: Database) -> None:
    await tried(database, 60, outcome="retry", error_message="x" * 60_000, traceback="y" * 60_000)
    async with serving(database, jobs=JOBS) as service:
        seen, path = 0, PATH
        while path:
            answer = await service.client.get(path)
            assert answer.status_code == 200
            assert len(answer.content) <= MAX_PAGE_BYTES + 100_000
            seen += len(json_of(answer)["attempts"])
            path = answer.headers.get("link", "").removeprefix("<").partition(">")[0]
        assert seen == 60
        html = await service.client.get("/ui/programs/run-1")
        assert len(html.content) < 2 * MAX_PAGE_BYTES


async def test_client_walks_through_pages_only_as_far_as_it_is_asked_to(
    database: Database, read: list[int]
) -> None:
    await tried(database, 1_000)
    async with serving(database, jobs=JOBS) as service:
        transport = httpx.ASGITransport(app=service.app)
        async with AsyncClient(URL, transport=transport) as client:
            async for each in client.attempts("run-1"):
                assert each["outcome"] == "yielded"
                break
            assert read[0] == 200
            assert len([each async for each in client.attempts("run-1")]) == 1_000
