"""Long lists: jobs and workers have pages, which end after so many, and after so many bytes."""

import httpx
import pytest

from builders import JOBS
from program_executor import AsyncClient, job
from program_service.api import responses
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import URL, Service, json_of, problem_of, serving

NAMES = [f"job-{number:02}" for number in range(12)]


async def walked(service: Service, path: str, part: str) -> list[list[str]]:
    """Return the names on each page."""
    found = []
    while path:
        answer = await service.client.get(path)
        assert answer.status_code == 200, answer.text
        page = json_of(answer)
        found.append([each["name"] for each in page[part]])
        assert (page["next_cursor"] is None) == ("link" not in answer.headers)
        path = answer.headers.get("link", "").removeprefix("<").partition(">")[0]
    return found


@on_sqlite
@pytest.mark.parametrize("limit", [5, 11, 12, 1_000])
async def test_jobs_are_listed_once_by_pages(database: Database, limit: int) -> None:
    async with serving(database, jobs=NAMES) as service:
        pages = await walked(service, f"/jobs?limit={limit}", "jobs")
    assert [name for page in pages for name in page] == NAMES
    assert all(len(page) == limit for page in pages[:-1])


@on_sqlite
async def test_page_of_jobs_ends_after_so_many_bytes_and_clients_walk_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_PAGE_BYTES", 1_500)
    async with serving(database, jobs=NAMES) as service:
        pages = await walked(service, "/jobs", "jobs")
        transport = httpx.ASGITransport(app=service.app)
        async with AsyncClient(URL, transport=transport) as client:
            assert [each["name"] for each in await client.jobs()] == NAMES
    assert len(pages) > 2
    assert [name for page in pages for name in page] == NAMES


@on_sqlite
async def test_workers_are_listed_once_by_pages(database: Database) -> None:
    @job
    async def reserve(_ctx: object) -> None:
        """Do nothing."""

    async with serving(database, jobs=JOBS) as service:
        for _ in range(3):
            await service.crew.hire(reserve, worker_name="twin")
        pages = await walked(service, "/workers?limit=2", "workers")
        await service.crew.stop()
    assert pages == [["twin", "twin"], ["twin"]]


@on_sqlite
@pytest.mark.parametrize("path", ["/jobs", "/workers", "/programs/run-1/attempts"])
async def test_cursor_of_another_list_is_refused(database: Database, path: str) -> None:
    async with serving(database, jobs=JOBS) as service:
        run_id = (await service.submit("reserve"))["run_id"]
        path = path.replace("run-1", run_id)
        for cursor in ("eyJpZCI6MX0", "W10", "nothing!"):
            answer = await service.client.get(path, params={"cursor": cursor})
            problem_of(answer, 422, "bad_cursor")
        too_many = await service.client.get(path, params={"limit": 1_001})
        problem_of(too_many, 422, "invalid")
