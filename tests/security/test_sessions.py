"""Sessions of the dashboard: what a cookie is worth, for how long, and to whom."""

import httpx
import pytest
import sqlalchemy as sa

from builders import JOBS, seconds_ago
from keys import KEYS, entry_of
from program_service.api.auth import digest_of
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger import sessions as ledger
from program_service.dashboard.sessions import HOST_COOKIE, PLAIN_COOKIE
from servers import on_sqlite
from serving import URL, Json, Service, json_of, problem_of, serving

pytestmark = on_sqlite

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
HTTPS = URL.replace("http:", "https:")


async def signed_in(service: Service, key: str = KEYS["admin"], *, url: str = "") -> httpx.Response:
    """Sign in, and return the answer."""
    answer = await service.client.post(f"{url}/ui/sign-in", data={"key": key}, headers=OURS)
    assert answer.status_code == 303
    return answer


async def listed(service: Service) -> list[Json]:
    """Return the sessions, as the API lists them."""
    found: list[Json] = json_of(await service.client.get("/sessions", headers=ADMIN))["sessions"]
    return found


async def looks(service: Service) -> int:
    """Return how the overview is answered to the browser."""
    return (await service.client.get("/")).status_code


async def test_cookie_is_not_the_key_and_the_table_has_neither(
    guarded: Service, database: Database
) -> None:
    answer = await signed_in(guarded)
    cookie = guarded.client.cookies[PLAIN_COOKIE]
    assert KEYS["admin"] not in answer.headers["set-cookie"]
    refused = await guarded.client.get("/keys", headers={"Authorization": f"Bearer {cookie}"})
    assert refused.status_code == 401  # the API takes no session
    async with database.engine.connect() as connection:
        rows = (await connection.execute(sa.select(database.tables.sessions))).all()
    assert [row.digest for row in rows] == [digest_of(cookie)]
    assert cookie not in str(rows)


async def test_cookie_is_worth_nothing_after_signing_out(guarded: Service) -> None:
    await signed_in(guarded)
    cookie = guarded.client.cookies[PLAIN_COOKIE]
    assert await looks(guarded) == 200
    await guarded.client.post("/ui/sign-out", headers=OURS)
    guarded.client.cookies.set(PLAIN_COOKIE, cookie)
    assert await looks(guarded) == 303
    assert await listed(guarded) == []


async def test_revoked_key_ends_its_sessions(guarded: Service) -> None:
    body = {"name": "ada", "scopes": ["read"]}
    key = json_of(await guarded.client.post("/keys", json=body, headers=ADMIN))
    await signed_in(guarded, key["key"])
    assert await looks(guarded) == 200
    await guarded.client.delete(f"/keys/{key['id']}", headers=ADMIN)
    assert await looks(guarded) == 303
    assert await listed(guarded) == []


async def test_session_of_a_key_that_left_the_setting_is_over(database: Database) -> None:
    async with serving(database, api_keys=f"{entry_of('admin')} {entry_of('read')}") as before:
        await signed_in(before, KEYS["read"])
        cookie = before.client.cookies[PLAIN_COOKIE]
    async with serving(database, api_keys=entry_of("admin")) as after:
        after.client.cookies.set(PLAIN_COOKIE, cookie)
        assert await looks(after) == 303


async def test_administrator_ends_a_session(guarded: Service) -> None:
    await signed_in(guarded)
    (session,) = await listed(guarded)
    assert session["key_name"] == "admin"
    assert guarded.client.cookies[PLAIN_COOKIE] not in str(session)
    path = f"/sessions/{session['id']}"
    assert (await guarded.client.delete(path, headers=ADMIN)).status_code == 204
    assert await looks(guarded) == 303
    problem_of(await guarded.client.delete(path, headers=ADMIN), 404, "session_not_found")


@pytest.mark.parametrize("column", ["last_seen_at", "expires_at"])
async def test_session_ends_by_itself_and_is_purged(
    guarded: Service, database: Database, column: str
) -> None:
    await signed_in(guarded)
    assert await looks(guarded) == 200
    long_ago = {column: seconds_ago(database, 4_000)}
    async with database.engine.begin() as connection:
        await connection.execute(sa.update(database.tables.sessions).values(**long_ago))
    assert await looks(guarded) == 303
    assert await listed(guarded) == []
    assert await database.transact(ledger.forget_sessions, idle_s=3_600, limit=10) == 1


async def test_session_that_is_used_lives_on(guarded: Service, database: Database) -> None:
    await signed_in(guarded)
    async with database.engine.begin() as connection:
        half = {"last_seen_at": seconds_ago(database, 1_800)}
        await connection.execute(sa.update(database.tables.sessions).values(**half))
    (before,) = await listed(guarded)
    assert await looks(guarded) == 200
    (after,) = await listed(guarded)
    assert after["last_seen_at"] > before["last_seen_at"]


async def test_sessions_of_a_key_are_bounded(
    guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_OF_A_KEY", 2)
    for _ in range(4):
        await signed_in(guarded)
    assert len(await listed(guarded)) == 2
    assert await looks(guarded) == 200  # the newest is among them


@pytest.mark.parametrize(
    ("url", "headers"),
    [(HTTPS, {}), ("", {"Origin": HTTPS}), (HTTPS, {"Origin": HTTPS})],
    ids=["https", "https behind a proxy that does not say so", "both"],
)
async def test_cookie_over_https_is_for_this_host_alone(
    guarded: Service, url: str, headers: dict[str, str]
) -> None:
    sent = OURS | headers
    form = {"key": KEYS["admin"]}
    answer = await guarded.client.post(f"{url}/ui/sign-in", data=form, headers=sent)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == HOST_COOKIE
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in rest.split(";")}
    assert "domain" not in rest.lower()


async def test_cookie_of_plain_http_is_no_session_over_https(guarded: Service) -> None:
    await signed_in(guarded)
    assert PLAIN_COOKIE in guarded.client.cookies
    assert (await guarded.client.get(f"{HTTPS}/")).status_code == 303


async def test_each_sign_in_begins_another_session(guarded: Service) -> None:
    cookies = set()
    for _ in range(3):
        cookies.add((await signed_in(guarded)).cookies[PLAIN_COOKIE])
    assert len(cookies) == len(await listed(guarded)) == 3


async def test_sign_in_without_keys_needs_no_session(database: Database) -> None:
    async with serving(database, jobs=JOBS) as service:
        answer = await service.client.post("/ui/sign-in", data={"key": "any"}, headers=OURS)
        assert (answer.status_code, "set-cookie" in answer.headers) == (303, False)
        assert await looks(service) == 200
