"""The limit of job data: no writer makes a program longer than `MAX_JOB_DATA_BYTES`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from builders import JOBS
from calling import ALLOW, hire, put, with_links
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_executor import Job, JobContext, ThreadJobContext, job
from program_service.bookkeeping.database import Database
from servers import on_servers, on_sqlite
from serving import Json, Service, problem_of, serving
from stage import staged

MOST = 2_000
HALF = {"half": "x" * 1_200}
OTHER = {"other": "y" * 1_200}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve with a low limit."""
    limits: Any = {"callback_allow": ALLOW, "max_job_data_bytes": MOST}
    async with serving(database, jobs=JOBS, **limits) as served:
        yield served


def refused(program: Json) -> None:
    """Require that a step has failed, with the size and the limit."""
    assert program["status"] == "errored"
    assert "bytes as JSON, and may have 2,000 (MAX_JOB_DATA_BYTES)" in program["error_message"]


@job
async def returns(_ctx: JobContext) -> Json:
    return OTHER


@job
async def sets(ctx: JobContext) -> None:
    await ctx.job_data.set(OTHER)


@job
async def merges(ctx: JobContext) -> None:
    await ctx.job_data.merge(OTHER)


@job
async def keeps(ctx: JobContext) -> None:
    await ctx.job_data.checkpoint(OTHER, 60)


@job
def merges_in_a_thread(ctx: ThreadJobContext) -> None:
    ctx.job_data.merge(OTHER)


@job
async def starts(ctx: JobContext) -> None:
    await ctx.start_program(["starts"], job_data={"starts": HALF | OTHER})


WRITERS = [returns, sets, merges, keeps, merges_in_a_thread, starts]


@on_sqlite
@pytest.mark.parametrize("writer", WRITERS, ids=lambda each: each.name)
async def test_job_that_stores_too_much_fails_with_the_size_and_the_limit(
    service: Service, writer: Job
) -> None:
    @job
    async def reserve(_ctx: JobContext) -> None:
        """Do nothing."""

    await service.crew.hire(writer, reserve, max_job_data_bytes=MOST)
    data = {"reserve": HALF}
    run_id = (await service.submit("reserve", writer.name, job_data=data))["run_id"]
    neighbours = [(await service.submit(writer.name))["run_id"] for _ in range(3)]
    program = await service.ended(run_id)
    refused(program)
    assert program["job_data"] == data
    (attempt,) = (await service.client.get(f"/programs/{run_id}/attempts")).json()["attempts"][1:]
    assert attempt["error_type"] == "JobDataTooLarge"
    assert attempt["error_code"] == "job_data_too_large"
    if writer is not starts:
        for each in neighbours:
            assert (await service.ended(each))["status"] == "finished"
    await service.crew.stop()


@on_servers
async def test_transaction_of_a_job_is_rolled_back_with_its_result(database: Database) -> None:
    @job
    async def reserve(ctx: JobContext) -> Json:
        await ctx.transaction()
        return OTHER

    async with staged(database) as stage:
        await stage.crew.hire(reserve, max_job_data_bytes=1_024)
        program = await stage.ended(await stage.submit("reserve"))
    assert program.error_message is not None
    assert "1,024 (MAX_JOB_DATA_BYTES)" in program.error_message


@on_sqlite
async def test_endpoint_that_answers_too_much_fails_its_step(service: Service) -> None:
    async def answer(_call: Call) -> Reply:
        return Reply(200, {"job_data": HALF | OTHER})

    async with endpoint(answer) as called:
        await put(service, "invoice", called.url)
        await hire(service, max_job_data_bytes=MOST)
        refused(await service.ended((await service.submit("invoice"))["run_id"]))
        await service.crew.stop()


@on_sqlite
async def test_endpoint_that_completes_with_too_much_is_told_the_limit(service: Service) -> None:
    async def answer(_call: Call) -> Reply:
        return Reply(202)

    async with endpoint(answer) as called:
        await put(service, "invoice", called.url)
        await hire(service, max_job_data_bytes=MOST)
        run_id = (await service.submit("invoice", job_data={"invoice": HALF}))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        links = with_links(service, called.calls[0])
        for refusal in (
            await links.post("complete", {"job_data": OTHER}),
            await links.patch("job_data", OTHER),
        ):
            problem = problem_of(refusal, 413, "job_data_too_large")
            assert "2,000" in problem["detail"]
        assert (await links.post("complete", {"job_data": {"a": 1}})).status_code == 200
        program = await service.ended(run_id)
        assert program["job_data"] == {"invoice": HALF | {"a": 1}}
        await service.crew.stop()


@on_sqlite
async def test_request_that_stores_too_much_is_answered_with_the_limit(service: Service) -> None:
    run_id = (await service.submit("reserve", job_data={"reserve": HALF}))["run_id"]
    path = f"/programs/{run_id}/job-data/reserve"
    too_much = {"jobs": ["reserve"], "job_data": {"reserve": HALF | OTHER}}
    for answer in (
        await service.client.patch(path, json=OTHER),
        await service.client.put(path, json=HALF | OTHER),
        await service.client.post("/programs", json=too_much),
        await service.client.post("/programs/batch", json={"programs": [too_much]}),
    ):
        problem = problem_of(answer, 413, "job_data_too_large")
        assert "and may have 2,000 (MAX_JOB_DATA_BYTES)" in problem["detail"]
    assert (await service.get(run_id))["job_data"] == {"reserve": HALF}
    assert (await service.client.put(path, json=OTHER)).status_code == 200
