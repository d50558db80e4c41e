"""Steering many: one program that cannot be steered keeps nobody from steering the others."""

import httpx
import pytest
import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from refusing import own_trigger
from servers import Connect, on_servers
from serving import Service

OURS = {"Sec-Fetch-Site": "same-origin"}


async def _cancelled_all(service: Service) -> dict[str, str]:
    """Cancel all programs by the button of the list; return what the next page is told."""
    answer = await service.client.post("/ui/bulk/cancel", headers=OURS)
    assert answer.status_code == 303, answer.text
    return dict(httpx.URL(answer.headers["location"]).params)


async def _statuses(service: Service, *run_ids: str) -> list[str]:
    return [(await service.get(run_id))["status"] for run_id in run_ids]


@pytest.fixture
async def run_ids(service: Service) -> list[str]:
    """Submit programs."""
    return [str((await service.submit())["run_id"]) for _ in range(4)]


async def test_program_that_the_database_refuses_to_change_is_left_alone(
    service: Service, run_ids: list[str], database: Database
) -> None:
    async with own_trigger(database, f"OLD.run_id = '{run_ids[1]}'"):
        told = await _cancelled_all(service)
    assert (told["cancelled"], told["refused"]) == ("3", "1")
    assert await _statuses(service, *run_ids) == ["cancelled", "pending", "cancelled", "cancelled"]


@on_servers  # SQLite has one writer, for whom everybody waits
async def test_program_that_is_locked_is_left_alone(
    service: Service, run_ids: list[str], connect: Connect
) -> None:
    holder = connect()
    row = holder.tables.programs.c
    async with holder.engine.begin() as connection:
        held = sa.select(row.id).where(row.run_id == run_ids[1]).with_for_update()
        assert (await connection.execute(held)).all()
        told = await _cancelled_all(service)
    assert (told["cancelled"], told["refused"]) == ("3", "1")
    assert await _statuses(service, *run_ids) == ["cancelled", "pending", "cancelled", "cancelled"]
