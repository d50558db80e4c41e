"""Unreadable rows: what somebody broke by hand is shown as broken, and hides nothing else."""

from typing import cast

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from builders import JOBS
from lines import Lines, of_event
from program_executor import JobContext, job
from program_service.bookkeeping import registrations
from program_service.bookkeeping.ledger.workers import Worker, beat
from screens import VIEWS
from servers import on_sqlite
from serving import Service, json_of

pytestmark = on_sqlite

ENDPOINT = {"url": "https://mail.example/send"}


@job
async def reserve(_ctx: JobContext) -> None:
    """Do nothing."""


async def break_rows(service: Service) -> None:
    """Make the row of an endpoint and that of a worker unreadable."""
    put = await service.client.put("/jobs/broken", json=ENDPOINT)
    assert put.status_code == 201, put.text
    await service.database.transact(
        beat, Worker("broken", "pod-7", "1.2.3", ["default"], ["mail"], 9, 1, newest_wakeups={})
    )
    tables = service.database.tables
    async with service.database.engine.begin() as connection:
        for table, column in (("jobs", "endpoint"), ("workers", "jobs")):
            name = getattr(tables, table).name
            statement = f"UPDATE {name} SET {column} = '[5]' WHERE name = 'broken'"
            await connection.execute(sa.text(statement))


async def test_everything_else_goes_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "_named", set())  # other tests broke the same rows
    await break_rows(service)
    with capture_logs() as lines:
        waiting = (await service.submit("broken"))["run_id"]
        await service.crew.hire(reserve)
        await service.ended((await service.submit("reserve"))["run_id"])
        jobs = {each["name"]: each for each in json_of(await service.client.get("/jobs"))["jobs"]}
        workers = json_of(await service.client.get("/workers"))["workers"]
        for view in VIEWS:
            assert (await service.client.get(view)).status_code == 200, view
    assert jobs.keys() == {*JOBS, "broken"}
    assert (jobs["broken"]["url"], jobs["reserve"]["flaw"]) == (None, None)
    assert jobs["broken"]["flaw"]
    assert len(workers) == 1
    explained = await service.explain(waiting)
    assert explained["reason"] == "job_unreadable"
    assert jobs["broken"]["flaw"] in explained["text"]
    told = [
        (line["what"], line["row"]) for line in of_event(cast("Lines", lines), "row.unreadable")
    ]
    assert sorted(told) == [("job", "broken"), ("worker", "broken")]  # once each


async def test_putting_the_job_again_repairs_it(service: Service) -> None:
    await break_rows(service)
    put = await service.client.put("/jobs/broken", json=ENDPOINT)
    assert (put.status_code, put.json()["flaw"]) == (200, None)
    assert put.json()["secret"]
    assert (await service.client.get("/jobs/broken")).json()["url"] == ENDPOINT["url"]
