"""Idempotency-Key: the same key and body is the same program, in races too."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from program_service.api.auth import digest_of
from program_service.api.intents import hash_of
from program_service.api.schemas import ProgramRequest
from servers import Connect
from serving import Json, Service, json_of, problem_of, serving

BODY = {"jobs": ["reserve"], "program_data": {"customer": 42}}


async def post(service: Service, key: str, body: Any = None, **headers: str) -> Any:
    """Submit a program with a key."""
    sent = {"Idempotency-Key": key, **headers}
    return await service.client.post("/programs", json=body or BODY, headers=sent)


async def everything(service: Service) -> list[Json]:
    """Return all programs."""
    programs: list[Json] = json_of(await service.client.get("/programs?limit=200"))["programs"]
    return programs


async def test_same_key_and_body_answers_the_same_program_as_it_now_stands(
    service: Service,
) -> None:
    first = await post(service, "key-1")
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    run_id = json_of(first)["run_id"]
    await service.client.post(f"/programs/{run_id}/cancel")
    again = await post(service, "key-1")
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert json_of(again)["run_id"] == run_id
    assert json_of(again)["status"] == "cancelled"
    assert again.headers["etag"] != first.headers["etag"]


async def test_key_may_be_quoted_or_bare(service: Service) -> None:
    bare, quoted = await post(service, "key-1"), await post(service, '"key-1"')
    assert (bare.status_code, quoted.status_code) == (201, 200)
    assert json_of(bare)["run_id"] == json_of(quoted)["run_id"]


async def test_order_and_space_of_the_body_do_not_matter(service: Service) -> None:
    first = await post(service, "key-1", {"jobs": ["ship"], "labels": {"a": "1", "b": "2"}})
    text = '{ "labels": {"b": "2", "a": "1"},\n "jobs": ["ship"], "program_data": {} }'
    headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
    again = await service.client.post("/programs", content=text, headers=headers)
    assert again.status_code == 200, again.text
    assert json_of(again)["run_id"] == json_of(first)["run_id"]


@pytest.mark.parametrize(
    "other",
    [
        {"jobs": ["ship"], "program_data": {"customer": 42}},
        {"jobs": ["reserve"], "program_data": {"customer": 43}},
        {"jobs": ["reserve"], "program_data": {"customer": "42"}},
        BODY | {"labels": {"a": "b"}},
        BODY | {"start_at": "2099-01-01T00:00:00Z"},
    ],
)
async def test_same_key_with_another_body_is_refused(service: Service, other: Json) -> None:
    await post(service, "key-1")
    problem_of(await post(service, "key-1", other), 422, "idempotency_mismatch")
    assert len(await everything(service)) == 1


async def test_twenty_posts_at_once_make_one_program(service: Service, connect: Connect) -> None:
    """Two processes of the service serve them."""
    async with serving(connect()) as other:
        answers = await asyncio.gather(
            *(post(each, "key-1") for _ in range(10) for each in (service, other))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({json_of(answer)["run_id"] for answer in answers}) == 1
    assert len(await everything(service)) == 1


async def test_race_of_two_bodies_has_one_winner(service: Service) -> None:
    other = BODY | {"labels": {"other": "body"}}
    answers = await asyncio.gather(
        *(post(service, "key-1", body) for _ in range(10) for body in (BODY, other))
    )
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(200), codes.count(422)) == (1, 9, 10)
    assert len(await everything(service)) == 1


async def test_key_belongs_to_the_api_key_that_used_it(service: Service) -> None:
    keys = " ".join(f"{name}=submit+read:{digest_of(name * 8)}" for name in ("ann", "bob"))
    async with serving(service.database, api_keys=keys) as guarded:
        run_ids = {
            name: json_of(await post(guarded, "key-1", Authorization=f"Bearer {name * 8}"))[
                "run_id"
            ]
            for name in ("ann", "bob")
        }
        assert run_ids["ann"] != run_ids["bob"]
        replay = await post(guarded, "key-1", Authorization=f"Bearer {'bob' * 8}")
        assert json_of(replay)["run_id"] == run_ids["bob"]
        assert json_of(replay)["submitted_by"] == "bob"


@pytest.mark.parametrize(
    "key", ["", '""', "x" * 256, f'"{"x" * 256}"', '"open', 'clo"se', "tab\tkey", '"a" "b"']
)
async def test_key_of_no_form_is_refused(service: Service, key: str) -> None:
    problem_of(await post(service, key), 422, "bad_idempotency_key")
    assert await everything(service) == []


async def test_key_of_255_characters_is_one(service: Service) -> None:
    assert (await post(service, "x" * 255)).status_code == 201
    assert (await post(service, f'"{"x" * 255}"')).status_code == 200


async def test_refused_body_does_not_use_up_its_key(service: Service) -> None:
    problem_of(await post(service, "key-1", {"jobs": ["chrage"]}), 422, "unknown_jobs")
    assert (await post(service, "key-1")).status_code == 201


async def test_key_of_a_program_that_was_deleted_by_hand_submits_another(service: Service) -> None:
    gone = json_of(await post(service, "key-1"))["run_id"]
    programs = service.database.tables.programs
    async with service.database.engine.begin() as connection:
        await connection.execute(sa.delete(programs).where(programs.c.run_id == gone))
    again = await post(service, "key-1")
    assert again.status_code == 201
    run_id = json_of(again)["run_id"]
    assert run_id != gone
    replay = await post(service, "key-1")
    assert (replay.status_code, json_of(replay)["run_id"]) == (200, run_id)


def test_request_has_the_same_hash_in_each_release() -> None:
    """Else a body that is sent again after an upgrade would be `another body`."""
    plain = hash_of(ProgramRequest(jobs=["reserve"]))
    assert plain == "188bb430c135cd3f3e8efd2ac937d840ab38cc8aaccf64f6e033c67faa00b36d"
    full = ProgramRequest.model_validate(
        BODY
        | {
            "job_data": {"reserve": {"seat": 12}},
            "start_at": "2099-01-01T00:00:00+02:00",
            "labels": {"team": "eu"},
            "notify": "https://shop.example/ended",
        }
    )
    assert hash_of(full) == "239353556b962f1da1a1737bbebb2cf13bf9062ebd223d95fd89ae9d25dec2c5"
