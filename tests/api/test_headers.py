"""Headers: every answer tells browsers what they may not do with it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from screens import VIEWS
from servers import on_sqlite
from serving import URL, Service, on_a_socket, serving

pytestmark = on_sqlite

PATHS = ["/programs", "/programs/nope", "/no-such-path", "/jobs", "/livez", "/metrics"]
STATIC = "/ui/static/style.css"


@pytest.mark.parametrize("path", [*PATHS, *VIEWS, STATIC, "/ui/static/nope.css", "/openapi.json"])
async def test_every_answer_has_them(service: Service, path: str) -> None:
    headers = (await service.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in headers


async def test_data_are_not_kept_by_caches(service: Service) -> None:
    for path in PATHS:
        assert (await service.client.get(path)).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await service.client.get(STATIC)).headers


async def test_program_with_an_etag_may_be_kept_and_is_asked_for_again(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    answer = await service.client.get(f"/programs/{run_id}")
    assert answer.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": answer.headers["etag"]}
    again = await service.client.get(f"/programs/{run_id}", headers=known)
    assert again.status_code == 304
    assert again.headers["etag"] == answer.headers["etag"]
    assert again.headers["cache-control"] == "no-cache"
    assert again.headers["x-content-type-options"] == "nosniff"


async def test_bug_of_ours_has_them_too(service: Service) -> None:
    service.app.state.services = None
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        answer = await client.get("/programs")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_https_is_kept_to_where_it_was_used(service: Service) -> None:
    answer = await service.client.get(URL.replace("http:", "https:") + "/programs")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.fixture
async def behind_a_proxy(database: Database) -> AsyncIterator[str]:
    """Serve on a socket, as a proxy on this machine sees it."""
    async with (
        serving(database, api_keys=entry_of("read")) as service,
        on_a_socket(service) as address,
    ):
        yield address


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_on_this_machine_says_what_was_used(behind_a_proxy: str, scheme: str) -> None:
    """By uvicorn's default, which FORWARDED_ALLOW_IPS changes."""
    headers = {"X-Forwarded-Proto": scheme, "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=behind_a_proxy) as client:
        answer = await client.post("/ui/sign-in", data={"key": KEYS["read"]}, headers=headers)
    is_secure = "secure" in answer.headers["set-cookie"].lower()
    has_hsts = "strict-transport-security" in answer.headers
    assert (is_secure, has_hsts) == (scheme == "https", scheme == "https")
