"""Database down: 503 with `Retry-After`, never a broken pipe, and all is well when it is back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from private_postgres import free_port
from program_service.bookkeeping.database import Database
from refusing import Cable
from servers import on_postgresql
from serving import Service, json_of, problem_of, serving

ROUTES = [
    ("GET", "/programs", None),
    ("GET", "/programs/nope", None),
    ("GET", "/programs/nope/attempts", None),
    ("GET", "/programs/nope/events", None),
    ("GET", "/programs/nope/explain", None),
    ("GET", "/programs/nope/job-data/reserve", None),
    ("PUT", "/programs/nope/job-data/reserve", {}),
    ("POST", "/programs", {"jobs": ["reserve"]}),
    ("POST", "/programs/batch", {"programs": [{"jobs": ["reserve"]}]}),
    ("POST", "/programs/nope/cancel", None),
    ("POST", "/programs/nope/resume", None),
    ("GET", "/jobs", None),
    ("GET", "/workers", None),
]


@pytest.fixture
async def nowhere() -> AsyncIterator[Service]:
    """Serve on a PostgreSQL where nothing listens."""
    database = Database.connect(f"postgresql://postgres@127.0.0.1:{free_port()}/nowhere")
    async with serving(database, unknown_jobs="accept") as service:
        yield service
    await database.close()


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_request_is_told_to_come_again(
    nowhere: Service, method: str, path: str, body: Any
) -> None:
    answer = await nowhere.client.request(method, path, json=body)
    problem_of(answer, 503, "database_unavailable")
    assert answer.headers["retry-after"].isdigit()


async def test_service_lives_and_is_not_ready(nowhere: Service) -> None:
    assert (await nowhere.client.get("/livez")).status_code == 200
    answer = await nowhere.client.get("/readyz")
    assert answer.status_code == 503
    assert json_of(answer)["checks"]["database"].startswith("down")
    assert "build_info" in (await nowhere.client.get("/metrics")).text


@on_postgresql
async def test_service_goes_on_when_the_database_is_back(
    service: Service, database: Database
) -> None:
    """Invariant 1: what was answered with 503 was not accepted; what gets 201 is there."""
    cable = Cable(database)
    before = await service.submit("reserve")
    cable.is_cut = True
    answer = await service.client.post("/programs", json={"jobs": ["reserve"]})
    problem_of(answer, 503, "database_unavailable")
    answer = await service.client.get(f"/programs/{before['run_id']}", headers={"Prefer": "wait=9"})
    problem_of(answer, 503, "database_unavailable")
    cable.is_cut = False
    after = await service.submit("reserve")
    answer = await service.client.get("/programs?order=oldest")
    listed = [program["run_id"] for program in json_of(answer)["programs"]]
    assert listed == [before["run_id"], after["run_id"]]
    assert (await service.client.get("/readyz")).status_code == 200


async def test_short_outage_is_not_noticed_by_who_submits(
    service: Service, database: Database
) -> None:
    """Rule R4: a transaction that failed for a passing reason is tried again whole."""
    cable = Cable(database)
    # the directory of jobs is asked first, so that only the submit meets the outage
    await service.submit("reserve")
    cable.cut_for(2)
    program = await service.submit("reserve")
    assert cable.refused == 2
    assert (await service.get(program["run_id"]))["status"] == "pending"
