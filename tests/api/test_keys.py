"""Keys over HTTP: made once, listed, revoked, and refused after their time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from builders import JOBS
from keys import KEYS, entry_of
from patience import eventually
from program_service.api import authenticator
from program_service.api.auth import digest_of
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import Json, Service, json_of, problem_of, serving


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


ADMIN = bearer(KEYS["admin"])
SUBMITTER = {"name": "mailer", "scopes": ["submit"]}


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with an administrator's key in the setting."""
    async with serving(database, jobs=JOBS, api_keys=entry_of("admin")) as served:
        yield served


async def made(service: Service, **fields: object) -> Json:
    """Make a key and return it."""
    answer = await service.client.post("/keys", json=SUBMITTER | fields, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    return json_of(answer)


async def submit(service: Service, key: str) -> httpx.Response:
    """Submit a program with a key."""
    return await service.client.post("/programs", json={"jobs": ["reserve"]}, headers=bearer(key))


async def test_key_is_shown_once_and_good_at_once(guarded: Service, database: Database) -> None:
    key = await made(guarded)
    answer = await submit(guarded, key["key"])
    assert (answer.status_code, json_of(answer)["submitted_by"]) == (201, "mailer")
    listed = json_of(await guarded.client.get("/keys", headers=ADMIN))
    assert [(each["name"], each["source"]) for each in listed["keys"]] == [
        ("admin", "setting"),
        ("mailer", "table"),
    ]
    assert key["key"] not in str(listed)
    async with database.engine.connect() as connection:
        rows = (await connection.execute(sa.select(database.tables.keys))).all()
    assert [row.digest for row in rows] == [digest_of(key["key"])]
    assert key["key"] not in str(rows)


async def test_revoked_key_is_refused_at_once_and_stays_so(guarded: Service) -> None:
    key = await made(guarded)
    for _ in range(2):  # a repeated call changes nothing
        answer = await guarded.client.delete(f"/keys/{key['id']}", headers=ADMIN)
        assert answer.status_code == 204
    problem_of(await submit(guarded, key["key"]), 401, "unauthorized")
    listed = json_of(await guarded.client.get("/keys", headers=ADMIN))
    assert [each["name"] for each in listed["keys"]] == ["admin"]


async def test_expired_key_is_refused(guarded: Service) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key = await made(guarded, expires_at=soon.isoformat())
    assert (await submit(guarded, key["key"])).status_code == 201

    async def is_refused() -> bool:
        return (await submit(guarded, key["key"])).status_code == 401

    await eventually(is_refused)


async def test_keys_are_listed_by_pages(guarded: Service) -> None:
    for name in ("c", "a", "b", "a"):
        await made(guarded, name=name)
    names, path = [], "/keys?limit=2"
    while path:
        answer = await guarded.client.get(path, headers=ADMIN)
        names += [each["name"] for each in json_of(answer)["keys"]]
        path = answer.links.get("next", {}).get("url", "")
    assert names == ["a", "a", "admin", "b", "c"]
    answer = await guarded.client.get("/keys?cursor=odd", headers=ADMIN)
    problem_of(answer, 422, "bad_cursor")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a=b"},
        {"scopes": []},
        {"scopes": ["all"]},
        {"scopes": "submit"},
        {"expires_at": 7},
        {"more": 1},
    ],
)
async def test_key_that_cannot_be_is_refused(guarded: Service, wrong: Json) -> None:
    answer = await guarded.client.post("/keys", json=SUBMITTER | wrong, headers=ADMIN)
    problem_of(answer, 422, "invalid")


async def test_key_of_the_setting_is_revoked_there(guarded: Service) -> None:
    key_id = digest_of(KEYS["admin"])[:16]
    answer = await guarded.client.delete(f"/keys/{key_id}", headers=ADMIN)
    assert "API_KEYS" in problem_of(answer, 409, "key_of_setting")["detail"]
    problem_of(
        await guarded.client.delete(f"/keys/{'0' * 16}", headers=ADMIN), 404, "key_not_found"
    )


async def test_use_of_a_key_is_written_down(
    guarded: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await made(guarded)
    assert (await submit(guarded, key["key"])).status_code == 201
    keeper = guarded.app.state.services.authenticator
    await keeper._turn()
    (row,) = json_of(await guarded.client.get("/keys?limit=5", headers=ADMIN))["keys"][1:]
    assert row["last_used_at"] >= row["created_at"]
    async with database.engine.begin() as connection:
        await connection.execute(sa.update(database.tables.keys).values(last_used_at=None))
    await submit(guarded, key["key"])
    await keeper._turn()  # within the same minute nothing is written
    (row,) = json_of(await guarded.client.get("/keys?limit=5", headers=ADMIN))["keys"][1:]
    assert row["last_used_at"] is None
    monkeypatch.setattr(authenticator, "USED_EVERY_S", 0)
    await keeper._turn()
    (row,) = json_of(await guarded.client.get("/keys?limit=5", headers=ADMIN))["keys"][1:]
    assert row["last_used_at"] is not None


@on_sqlite
async def test_submit_with_a_key_of_the_table_costs_no_more_queries(guarded: Service) -> None:
    key = await made(guarded)
    statements: list[str] = []

    def note(*given: object) -> None:
        statements.append(str(given[2]))

    async def asked(key: str) -> int:
        statements.clear()
        assert (await submit(guarded, key)).status_code == 201
        return sum("programs_keys" in each or "INSERT INTO programs" in each for each in statements)

    await asked(key["key"])
    sa.event.listen(guarded.database.engine.sync_engine, "before_cursor_execute", note)
    assert await asked(key["key"]) == await asked(KEYS["admin"])


@on_sqlite
async def test_first_key_of_an_open_service_must_not_lock_everybody_out(service: Service) -> None:
    answer = await service.client.post("/keys", json=SUBMITTER)
    assert "'admin'" in problem_of(answer, 409, "first_key")["detail"]
    first = {"name": "ops", "scopes": ["admin"]}
    expiring = first | {"expires_at": "2099-01-01T00:00:00Z"}
    problem_of(await service.client.post("/keys", json=expiring), 409, "first_key")
    made = json_of(await service.client.post("/keys", json=first))
    problem_of(await service.client.get("/programs"), 401, "unauthorized")
    assert (await service.client.get("/keys", headers=bearer(made["key"]))).status_code == 200
