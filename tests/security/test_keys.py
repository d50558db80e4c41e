"""Keys: what a revoked, guessed or lost key can still do."""

import asyncio

import pytest
import sqlalchemy as sa

from builders import JOBS
from forgetting import Forgetful
from keys import KEYS, entry_of
from patience import eventually
from program_service.api import authenticator
from program_service.api.auth import digest_of, new_key
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from servers import Connect, on_sqlite
from serving import Json, Service, json_of, problem_of, serving

pytestmark = on_sqlite


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


ADMIN = bearer(KEYS["admin"])


async def made(service: Service, *scopes: str) -> Json:
    """Make a key and return it."""
    body = {"name": "mailer", "scopes": scopes}
    answer = await service.client.post("/keys", json=body, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    return json_of(answer)


async def revoke(service: Service, key: Json) -> None:
    """Revoke a key."""
    answer = await service.client.delete(f"/keys/{key['id']}", headers=ADMIN)
    assert answer.status_code == 204, answer.text


async def status_with(service: Service, key: str) -> int:
    """Return how a list is answered to a key."""
    return (await service.client.get("/programs", headers=bearer(key))).status_code


async def test_key_that_one_process_revokes_is_refused_by_the_other(
    guarded: Service, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "READ_EVERY_S", 0.1)
    async with serving(connect(), api_keys=entry_of("admin")) as other:
        key = await made(guarded, "read")
        assert await status_with(other, key["key"]) == 200  # though its copy is older than the key
        await revoke(guarded, key)

        async def is_refused() -> bool:
            return await status_with(other, key["key"]) == 401

        await eventually(is_refused)


async def test_copy_that_is_too_old_lets_nobody_in(
    guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await made(guarded, "read")
    assert await status_with(guarded, key["key"]) == 200

    async def fail(*_given: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(authenticator, "list_keys", fail)
    monkeypatch.setattr(authenticator, "TRUSTED_FOR_S", 0.0)
    assert await status_with(guarded, key["key"]) == 503
    assert await status_with(guarded, KEYS["admin"]) == 200


async def test_wrong_keys_share_their_queries(
    guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, reads = guarded.app.state.services.authenticator, 0
    read = keeper._read

    async def counted() -> None:
        nonlocal reads
        reads += 1
        await read()

    monkeypatch.setattr(keeper, "_read", counted)
    guesses = [status_with(guarded, new_key("guess")) for _ in range(40)]
    assert set(await asyncio.gather(*guesses)) == {401, 429}
    assert reads <= 2  # one may have been under way


async def test_stream_sends_nothing_to_a_key_that_was_revoked(guarded: Service) -> None:
    key = await made(guarded, "read")
    body = {"jobs": ["reserve"], "start_at": "2099-01-01T00:00:00Z"}
    program = json_of(await guarded.client.post("/programs", json=body, headers=ADMIN))
    path = f"/programs/{program['run_id']}"
    held = guarded.client.get(path, headers=bearer(key["key"]) | {"Prefer": "wait=30"})
    stream = guarded.client.get(f"{path}/events", headers=bearer(key["key"]))
    waiting = asyncio.gather(held, stream)

    async def both_wait() -> bool:
        return len(guarded.app.state.services.waiting._looks) > 1

    await eventually(both_wait)
    await revoke(guarded, key)
    await guarded.client.post(f"{path}/cancel", headers=ADMIN)
    answer, events = await waiting
    problem_of(answer, 401, "unauthorized")
    assert events.text.count("event: program") == 1  # the state before
    assert '"status":"cancelled"' not in events.text


async def test_revoking_the_last_key_does_not_open_the_service(database: Database) -> None:
    async with serving(database, jobs=JOBS) as service:
        first = {"name": "ops", "scopes": ["admin"]}
        made = json_of(await service.client.post("/keys", json=first))
        path = f"/keys/{made['id']}"
        assert (await service.client.delete(path, headers=bearer(made["key"]))).status_code == 204
        assert (await service.client.get("/programs")).status_code == 401
    async with serving(database) as restarted:
        assert (await restarted.client.get("/programs")).status_code == 401


async def test_key_with_half_a_label_may_do_nothing(guarded: Service, database: Database) -> None:
    key = await made(guarded, "read")
    async with database.engine.begin() as connection:
        await connection.execute(sa.update(database.tables.keys).values(label_key="tenant"))
    await guarded.app.state.services.authenticator.read()
    assert await status_with(guarded, key["key"]) == 403


async def test_key_whose_commit_answer_was_lost_is_the_one_that_is_shown(connect: Connect) -> None:
    forgetful = connect.of(Forgetful)
    async with serving(forgetful, api_keys=entry_of("admin")) as service:
        forgetful.losses.of_works, forgetful.losses.to_come = {"add_key"}, 1
        key = await made(service, "read")
        assert forgetful.losses.to_come == 0
        assert await status_with(service, key["key"]) == 200
        listed = json_of(await service.client.get("/keys", headers=ADMIN))["keys"]
        assert [each["id"] for each in listed if each["source"] == "table"] == [
            digest_of(key["key"])[:16]
        ]
