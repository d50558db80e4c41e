"""Following: look at a program, and wait for its end."""

import asyncio
import logging
from datetime import datetime

import pytest

from builders import lapse
from patience import eventually
from program_executor import JobContext, Retry, RetryableError, job
from servers import on_sqlite
from serving import Service, json_of, problem_of, serving

RESERVE_TRIES = 2


@job(retry=Retry(initial_s=3_600, jitter="none"))
async def reserve(ctx: JobContext) -> dict[str, int]:
    """Fail once."""
    if ctx.attempt < RESERVE_TRIES:
        raise RetryableError("the desk is closed", code="closed")
    return {"seat": 12}


async def test_program_shows_how_far_it_is(service: Service) -> None:
    let_go = asyncio.Event()

    @job
    async def charge(_ctx: JobContext) -> None:
        await let_go.wait()

    shift = await service.crew.hire(charge.named("reserve"), charge)
    run_id = (await service.submit("charge", "reserve"))["run_id"]
    await eventually(lambda: service.has_status(run_id, "running"))
    program = await service.get(run_id)
    assert (program["claimed_by"], program["current_job"]) == (shift.worker.name, "charge")
    assert program["progress"] == {"done": 0, "total": 2}
    let_go.set()
    program = await service.ended(run_id)
    assert (program["status"], program["current_job"], program["due_at"]) == (
        "finished",
        None,
        None,
    )
    assert program["progress"] == {"done": 2, "total": 2}
    assert program["finished_at"] >= program["created_at"]


async def test_attempts_show_every_try(service: Service) -> None:
    shift = await service.crew.hire(reserve)
    run_id = (await service.submit("reserve"))["run_id"]
    await eventually(lambda: service.has_status(run_id, "retrying"))
    await lapse(service.database, run_id)
    await service.ended(run_id)
    answer = await service.client.get(f"/programs/{run_id}/attempts")
    first, second = json_of(answer)["attempts"]
    assert [first["outcome"], second["outcome"]] == ["retry", "done"]
    assert [first["attempt"], second["attempt"]] == [1, 2]
    assert (first["job"], first["step"], first["worker"]) == ("reserve", 0, shift.worker.name)
    assert (first["error_type"], first["error_code"]) == ("RetryableError", "closed")
    assert first["error_message"] == "the desk is closed"
    assert "Traceback" in first["traceback"]
    assert first["started_at"] <= first["finished_at"] <= second["started_at"]
    assert second["error_message"] is None
    assert (first["log"], second["log"]) == ([], [])


async def test_attempts_show_what_the_job_logged(service: Service) -> None:
    @job("charge")
    async def charge(ctx: JobContext) -> None:
        logging.getLogger("shop").warning("charging %s", ctx.job)

    await service.crew.hire(charge, charge.named("ship"))
    run_id = (await service.submit("charge", "ship"))["run_id"]
    await service.ended(run_id)
    answer = await service.client.get(f"/programs/{run_id}/attempts")
    for attempt in json_of(answer)["attempts"]:
        (line,) = attempt["log"]
        at = line.pop("at")
        assert at.endswith("Z")
        assert datetime.fromisoformat(at).tzinfo is not None
        assert line == {"level": "warning", "text": f"charging {attempt['job']}", "fields": {}}


async def test_etag_changes_with_the_program_and_only_then(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    address = f"/programs/{run_id}"
    first = await service.client.get(address)
    again = await service.client.get(address)
    assert first.headers["etag"] == again.headers["etag"]
    await service.client.patch(f"{address}/job-data/reserve", json={"a": 1})
    changed = await service.client.get(address)
    assert changed.headers["etag"] != first.headers["etag"]


async def test_etag_changes_when_a_scheduled_program_becomes_due(service: Service) -> None:
    program = await service.submit("reserve", start_at="2099-01-01T00:00:00Z")
    address = f"/programs/{program['run_id']}"
    first = await service.client.get(address)
    await lapse(service.database, program["run_id"])
    second = await service.client.get(address)
    assert json_of(second)["status"] == "pending"
    assert second.headers["etag"] != first.headers["etag"]


async def test_known_program_is_answered_with_304(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    address = f"/programs/{run_id}"
    tag = (await service.client.get(address)).headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = await service.client.get(address, headers={"If-None-Match": sent})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    for sent in ('"other"', tag.strip('"'), ""):
        answer = await service.client.get(address, headers={"If-None-Match": sent})
        assert answer.status_code == 200


async def test_wait_ends_as_soon_as_the_program_does(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    waiting = asyncio.create_task(
        service.client.get(f"/programs/{run_id}", headers={"Prefer": "wait=50"})
    )
    await asyncio.sleep(0)
    await service.client.post(f"/programs/{run_id}/cancel")
    async with asyncio.timeout(30):  # not at the end of its time
        answer = await waiting
    assert json_of(answer)["status"] == "cancelled"
    assert answer.headers["preference-applied"] == "wait=50"


async def test_wait_goes_on_over_changes_that_are_no_end(service: Service) -> None:
    @job("reserve")
    async def slow(ctx: JobContext) -> None:
        for page in range(3):
            await ctx.job_data.merge({"page": page})

    run_id = (await service.submit("reserve", "reserve", "reserve"))["run_id"]
    waiting = asyncio.create_task(service.get(run_id, wait_s=50))
    await service.crew.hire(slow)
    assert (await waiting)["status"] == "finished"


async def test_wait_that_is_over_answers_the_program_as_it_stands(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    headers = {"Prefer": "respond-async, wait=1"}
    answer = await service.client.get(f"/programs/{run_id}", headers=headers)
    assert (answer.status_code, json_of(answer)["status"]) == (200, "pending")
    assert answer.headers["preference-applied"] == "wait=1"


async def test_wait_for_an_ended_program_answers_at_once(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    await service.client.post(f"/programs/{run_id}/cancel")
    async with asyncio.timeout(30):
        program = await service.get(run_id, wait_s=50)
    assert program["status"] == "cancelled"


async def test_many_wait_for_many(service: Service) -> None:
    run_ids = [(await service.submit("ship"))["run_id"] for _ in range(10)]
    waiting = [asyncio.create_task(service.ended(each)) for each in run_ids for _ in range(3)]

    @job
    async def ship(_ctx: JobContext) -> None:
        pass

    await service.crew.hire(ship)
    programs = await asyncio.gather(*waiting)
    assert {program["status"] for program in programs} == {"finished"}


@on_sqlite
async def test_longest_wait_is_a_setting(service: Service) -> None:
    async with serving(service.database, max_wait_s=0) as hasty:
        run_id = (await hasty.submit("reserve"))["run_id"]
        async with asyncio.timeout(30):
            answer = await hasty.client.get(f"/programs/{run_id}", headers={"Prefer": "wait=50"})
        assert json_of(answer)["status"] == "pending"
        assert answer.headers["preference-applied"] == "wait=0"


@on_sqlite
@pytest.mark.parametrize("preference", ["wait", "wait=x", "wait=-1", "return=minimal", "wait=1.5"])
async def test_preference_that_is_not_understood_is_ignored(
    service: Service, preference: str
) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    answer = await service.client.get(f"/programs/{run_id}", headers={"Prefer": preference})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


async def test_unknown_program_is_a_404_with_its_id(service: Service) -> None:
    problem = problem_of(await service.client.get("/programs/nope"), 404, "program_not_found")
    assert "'nope'" in problem["detail"]
