"""Discretion: what users send is theirs; no request body ever reaches a log line."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from lines import logging_as_workers_do
from program_executor import JobContext, job
from refusing import own_constraint
from servers import on_postgresql
from serving import URL, Service, problem_of

SECRET = "marker-4f1d"  # stands in every body below
LIMIT = 1_048_576


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Log everything there is, as the service does, and return what was printed so far."""
    said: list[str] = []

    def read() -> str:
        output, errors = capsys.readouterr()
        said.append(output + errors)
        return "".join(said)

    with logging_as_workers_do(level="DEBUG"):
        yield read


@job
async def reserve(_ctx: JobContext) -> None:
    """Do nothing."""


async def test_bodies_of_programs_that_run_reach_no_line(
    printed: Callable[[], str], service: Service
) -> None:
    await service.crew.hire(reserve)
    fields = {
        "program_data": {"card": SECRET},
        "job_data": {"reserve": {SECRET: SECRET}},
        "labels": {"note": SECRET},
    }
    run_id = (await service.submit("reserve", **fields))["run_id"]
    await service.ended(run_id)
    errored = (await service.submit("charge", **fields | {"job_data": {}}))["run_id"]
    body = {"programs": [{"jobs": ["ship"], **fields, "job_data": {}}]}
    assert (await service.client.post("/programs/batch", json=body)).status_code == 201
    address = f"/programs/{errored}/job-data/charge"
    assert (await service.client.put(address, json={"card": SECRET})).status_code == 200
    assert (await service.client.patch(address, json={"card": SECRET})).status_code == 200
    await service.crew.stop()
    lines = printed()
    assert "worker.started" in lines
    assert SECRET not in lines


@pytest.mark.parametrize(
    "content",
    [
        f'{{"jobs": ["{SECRET}"]}}',
        f'{{"jobs": ["{SECRET}\\u0000"]}}',
        f'{{"jobs": ["reserve"], "{SECRET}": "{SECRET}"}}',
        f'{{"jobs": "{SECRET}"}}',
        f'{{"jobs": ["reserve"], "start_at": "{SECRET}"}}',
        f'{{"jobs": ["reserve"], "program_data": "{SECRET}"}}',
        f'{{"jobs": ["reserve"], "program_data": {{"a": "{SECRET}"}}',
        f'{{"jobs": ["reserve"], "program_data": {{"{SECRET}": {"[" * 200}{"]" * 200}}}}}',
        f'{{"jobs": ["reserve"], "program_data": {{"{SECRET}": {2**70}}}}}',
        f'{{"jobs": ["reserve"], "program_data": {{"a": "{SECRET * LIMIT}"}}}}',
        f'{{"jobs": ["reserve"], "job_data": {{"{SECRET}": {{}}}}}}',
        f'{{"jobs": ["reserve"], "labels": {{"{SECRET}": 1}}}}',
    ],
    ids=lambda content: content[:60],
)
async def test_bodies_that_are_refused_reach_no_line(
    printed: Callable[[], str], service: Service, content: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await service.client.post("/programs", content=content, headers=headers)
    assert 400 <= answer.status_code < 500
    assert SECRET not in printed()


@on_postgresql
async def test_what_the_database_refuses_reaches_no_line(
    printed: Callable[[], str], service: Service
) -> None:
    """PostgreSQL's errors quote the row that broke a constraint, perhaps one of the users' own."""

    @job
    async def charge(_ctx: JobContext) -> dict[str, str]:
        return {"card": SECRET}

    await service.crew.hire(charge)
    async with own_constraint(service.database, f"job_data::text NOT LIKE '%{SECRET}%'"):
        run_id = (await service.submit("charge"))["run_id"]
        assert (await service.ended(run_id))["status"] == "errored"
        body = {"jobs": ["charge"], "job_data": {"charge": {"card": SECRET}}}
        answer = await service.client.post("/programs", json=body)
        problem_of(answer, 422, "refused_by_database")
    await service.crew.stop()
    lines = printed()
    assert "outcome.refused_by_database" in lines
    assert SECRET not in lines


@pytest.mark.parametrize("form", ["json", "pretty"])
async def test_bug_of_ours_is_logged_without_what_was_at_hand(
    capsys: pytest.CaptureFixture[str], service: Service, form: str
) -> None:
    """Tracebacks of `rich` show the values of local variables."""
    service.app.state.services = None
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    body = {"jobs": ["reserve"], "program_data": {"card": SECRET}}
    with logging_as_workers_do(level="DEBUG", is_json=form == "json"):
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            headers = {"Authorization": f"Bearer {SECRET}"}
            answer = await client.post("/programs", json=body, headers=headers)
    assert answer.status_code == 500
    lines = capsys.readouterr().err
    assert "request.failed" in lines
    assert "Traceback" in lines
    assert SECRET not in lines
