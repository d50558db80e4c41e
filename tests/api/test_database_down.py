"""Database down: 503 with `Retry-After`, never a broken pipe, and all is well when it is back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from private_postgres import free_port
from program_service.bookkeeping.database import Database
from refusing import Cable
from roles import Role
from servers import Connect, on_postgresql
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


@pytest.fixture
async def restricted(database: Database) -> AsyncIterator[tuple[Service, Role]]:
    """Serve as a role of the database from which privileges can be revoked."""
    role = Role(database)
    connections = await role.connect()
    async with serving(connections, unknown_jobs="accept") as service:
        yield service, role
    await connections.close()
    await role.drop()


@on_postgresql
async def test_missing_privilege_is_no_fault_of_the_caller_and_is_said_to_who_operates(
    restricted: tuple[Service, Role],
) -> None:
    """503, and not 422: nothing is wrong with the program."""
    service, role = restricted
    tables = service.database.tables
    async with role.lacking("INSERT", tables.programs):
        answer = await service.client.post("/programs", json={"jobs": ["reserve"]})
        problem = problem_of(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"].isdigit()
        assert "permission denied" not in problem["detail"]  # that is for the log
        answer = await service.client.get("/readyz")
        ready = json_of(answer)
        assert (answer.status_code, ready["status"]) == (200, "degraded")
        assert f"permission denied for table {tables.programs.name}" in ready["checks"]["database"]
        assert (await service.client.get("/programs")).status_code == 200
    await service.submit("reserve")
    assert json_of(await service.client.get("/readyz"))["checks"]["database"] == "ok"


@on_postgresql
async def test_probe_that_may_not_look_says_why(restricted: tuple[Service, Role]) -> None:
    service, role = restricted
    version = sa.Table(service.database.tables.version_table, sa.MetaData())
    async with role.lacking("SELECT", version):
        answer = await service.client.get("/readyz")
        assert answer.status_code == 503
        assert (
            f"permission denied for table {version.name}" in json_of(answer)["checks"]["database"]
        )


@on_postgresql
async def test_row_that_somebody_holds_is_told_to_come_again(
    service: Service, database: Database, connect: Connect
) -> None:
    """A caller is not kept waiting for as long as a statement may take."""
    run_id = (await service.submit("reserve"))["run_id"]
    programs = database.tables.programs
    async with connect().engine.begin() as holder:
        await holder.execute(
            sa.select(programs.c.id).where(programs.c.run_id == run_id).with_for_update()
        )
        answer = await service.client.post(f"/programs/{run_id}/cancel")
        problem = problem_of(answer, 503, "database_unavailable")
        assert "lock" in problem["detail"]
        assert (await service.client.get(f"/programs/{run_id}")).status_code == 200
        await service.submit("reserve")
    await service.cancel(run_id)
