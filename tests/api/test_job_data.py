"""Job data over HTTP: read, replace and merge what one job keeps in a program.

Protocol rule R10.
"""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from builders import by_hand, seconds_ago
from patience import eventually
from program_executor import JobContext, job
from serving import Json, Service, json_of, problem_of, register


def address(run_id: str, job_name: str = "reserve") -> str:
    """Return where the data of a job are."""
    return f"/programs/{run_id}/job-data/{quote(job_name, safe='')}"


async def test_data_that_were_never_set_are_an_empty_object(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    answer = await service.client.get(address(run_id))
    assert (answer.status_code, json_of(answer)) == (200, {})


async def test_put_replaces_and_patch_merges_shallowly(service: Service) -> None:
    fields = {"job_data": {"reserve": {"a": 1, "deep": {"x": 1}}, "charge": {"other": True}}}
    run_id = (await service.submit("reserve", "charge", **fields))["run_id"]
    answer = await service.client.patch(address(run_id), json={"b": None, "deep": {"y": 2}})
    assert json_of(answer) == {"a": 1, "deep": {"y": 2}, "b": None}
    assert json_of(await service.client.get(address(run_id))) == json_of(answer)
    answer = await service.client.put(address(run_id), json={"c": 3})
    assert json_of(answer) == {"c": 3}
    program = await service.get(run_id)
    assert program["job_data"] == {"reserve": {"c": 3}, "charge": {"other": True}}


async def test_edits_at_once_lose_nothing(service: Service) -> None:
    """The ancestor's `job_data` was an unguarded read-modify-write."""
    run_id = (await service.submit("reserve", "charge"))["run_id"]
    await asyncio.gather(
        *(
            service.client.patch(address(run_id, name), json={f"key-{number}": number})
            for number in range(20)
            for name in ("reserve", "charge")
        )
    )
    expected = {f"key-{number}": number for number in range(20)}
    data = (await service.get(run_id))["job_data"]
    assert data == {"reserve": expected, "charge": expected}


async def test_running_job_and_edits_from_outside_do_not_lose_each_others_keys(
    service: Service,
) -> None:
    edited = asyncio.Event()

    @job
    async def reserve(ctx: JobContext) -> dict[str, int]:
        await ctx.job_data.merge({"begun": 1})
        await edited.wait()
        await ctx.job_data.merge({"going": 2})
        return {"done": 3}

    await service.crew.hire(reserve)
    run_id = (await service.submit("reserve"))["run_id"]

    async def has_begun() -> bool:
        return "begun" in json_of(await service.client.get(address(run_id)))

    await eventually(has_begun)
    await service.client.patch(address(run_id), json={"outside": 4})
    edited.set()
    program = await service.ended(run_id)
    assert program["job_data"] == {"reserve": {"begun": 1, "outside": 4, "going": 2, "done": 3}}


async def test_job_of_another_program_is_not_found(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    for method in ("GET", "PUT", "PATCH"):
        body: Json | None = None if method == "GET" else {}
        answer = await service.client.request(method, address(run_id, "ship"), json=body)
        problem = problem_of(answer, 404, "job_not_in_program")
        assert "'ship'" in problem["detail"]
        assert "'reserve'" in problem["detail"]


@pytest.mark.parametrize("name", ["mail/welcome", "a b", "ünïcödé", "50%", "a?b#c", "x+y"])
async def test_any_job_name_has_an_address(service: Service, name: str) -> None:
    await register(service.database, name)
    run_id = (await service.submit(name))["run_id"]
    answer = await service.client.put(address(run_id, name), json={"a": 1})
    assert (answer.status_code, answer.text) == (200, '{"a":1}')
    assert json_of(await service.client.get(address(run_id, name))) == {"a": 1}


@pytest.mark.parametrize("body", [[], "text", 1, None, [{"a": 1}]])
async def test_data_must_be_an_object(service: Service, body: Any) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    for method in ("PUT", "PATCH"):
        answer = await service.client.request(method, address(run_id), json=body)
        problem_of(answer, 422, "invalid")
    assert (await service.get(run_id))["job_data"] == {}


async def test_data_are_read_as_strictly_as_programs(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    headers = {"Content-Type": "application/json"}
    for content, status, code in (
        ('{"a": "\\u0000"}', 422, "nul_character"),
        ('{"a": 9223372036854775808}', 422, "integer_too_long"),
        ('{"a": NaN}', 400, "malformed_body"),
        (f'{{"a": {"[" * 200}{"]" * 200}}}', 422, "nested_too_deeply"),
    ):
        answer = await service.client.put(address(run_id), content=content, headers=headers)
        problem_of(answer, status, code)


async def test_data_of_a_finished_program_do_not_change(service: Service) -> None:
    """Invariant 6."""
    run_id = (await service.submit("reserve"))["run_id"]
    now = seconds_ago(service.database, 0)
    await by_hand(service.database, run_id, finished_at=now, due_at=None, step=1)
    before = await service.get(run_id)
    for method in ("PUT", "PATCH"):
        answer = await service.client.request(method, address(run_id), json={"a": 1})
        problem_of(answer, 409, "already_final")
    assert await service.get(run_id) == before


async def test_data_of_an_errored_program_can_be_repaired_before_its_resume(
    service: Service,
) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    await service.client.post(f"/programs/{run_id}/cancel")
    answer = await service.client.patch(address(run_id), json={"seat": 12})
    assert json_of(answer) == {"seat": 12}
    resumed: Json = json_of(await service.client.post(f"/programs/{run_id}/resume"))
    assert resumed["job_data"] == {"reserve": {"seat": 12}}
