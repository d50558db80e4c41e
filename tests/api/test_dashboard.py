"""The dashboard's entrance: keys, cookies, and forms of other sites."""

from collections.abc import AsyncIterator

import httpx
import pytest

from builders import JOBS
from program_service.api.auth import digest_of
from program_service.bookkeeping.database import Database
from program_service.dashboard.sessions import PLAIN_COOKIE
from screens import VIEWS
from servers import on_sqlite
from serving import URL, Service, serving

pytestmark = on_sqlite

READER, OPERATOR = "the key of a reader", "the key of an operator"
OURS = {"Sec-Fetch-Site": "same-origin"}
ACTIONS = ("/ui/programs/{}/cancel", "/ui/programs/{}/resume", "/ui/bulk/cancel", "/ui/bulk/resume")


@pytest.fixture
async def locked(database: Database) -> AsyncIterator[Service]:
    """Serve with a key to read and a key to operate."""
    keys = {"reader=read": READER, "operator=read+operate": OPERATOR}
    entries = " ".join(f"{name}:{digest_of(key)}" for name, key in keys.items())
    async with serving(database, jobs=JOBS, api_keys=entries) as served:
        yield served


async def sign_in(service: Service, key: str, *, to: str = "/") -> httpx.Response:
    """Send the form of the sign-in page."""
    form = {"key": key, "to": to}
    return await service.client.post("/ui/sign-in", data=form, headers=OURS)


@pytest.mark.parametrize("view", VIEWS)
async def test_stranger_is_sent_to_the_sign_in_page(locked: Service, view: str) -> None:
    answer = await locked.client.get(f"{view}?x=1")
    assert answer.status_code == 303
    place = httpx.URL(answer.headers["location"])
    assert (place.path, place.params["to"]) == ("/ui/sign-in", f"{view}?x=1")
    assert (await locked.client.get(str(place))).status_code == 200


async def test_key_opens_the_pages_and_signing_out_closes_them(locked: Service) -> None:
    answer = await sign_in(locked, READER, to="/ui/programs?status=errored")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/ui/programs?status=errored"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # this test's service is asked over http
    for view in VIEWS:
        page = await locked.client.get(view)
        assert page.status_code == 200
        assert "reader" in page.text
    await locked.client.post("/ui/sign-out", headers=OURS)
    assert PLAIN_COOKIE not in locked.client.cookies
    assert (await locked.client.get("/")).status_code == 303


async def test_cookie_is_for_https_alone_where_the_page_was_asked_for_so(locked: Service) -> None:
    url = URL.replace("http:", "https:") + "/ui/sign-in"
    answer = await locked.client.post(url, data={"key": READER}, headers=OURS)
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("key", ["", "a wrong key", "  "])
async def test_wrong_key_stays_outside(locked: Service, key: str) -> None:
    answer = await sign_in(locked, key)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "No key of this service is like that one" in answer.text


@pytest.mark.parametrize(
    "to", ["//evil.example", "/\\evil.example", "https://evil.example", "a\nb"]
)
async def test_nobody_is_led_elsewhere_after_signing_in(locked: Service, to: str) -> None:
    answer = await sign_in(locked, READER, to=to)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("action", ACTIONS)
async def test_reader_may_look_and_not_steer(locked: Service, action: str) -> None:
    await sign_in(locked, READER)
    answer = await locked.client.post(action.format("1"), headers=OURS)
    assert answer.status_code == 403
    assert "the scope &#39;operate&#39;" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[evil"},
    ],
)
@pytest.mark.parametrize("action", [*ACTIONS, "/ui/sign-in", "/ui/sign-out", "/ui/failures/resume"])
async def test_what_another_site_sends_is_refused(
    service: Service, action: str, headers: dict[str, str]
) -> None:
    program = await service.submit()
    answer = await service.client.post(action.format(program["run_id"]), headers=headers)
    assert answer.status_code == 403
    assert "a page of another site" in answer.text
    assert (await service.get(program["run_id"]))["status"] == "pending"


async def test_browser_that_only_tells_the_origin_is_believed(service: Service) -> None:
    program = await service.submit()
    path = f"/ui/programs/{program['run_id']}/cancel"
    answer = await service.client.post(path, headers={"Origin": URL})
    assert answer.status_code == 303
    assert (await service.get(program["run_id"]))["status"] == "cancelled"


async def test_form_of_more_fields_than_any_of_ours_is_refused(service: Service) -> None:
    form = "&".join(f"field_{number}=1" for number in range(1001))
    answer = await service.client.post("/ui/sign-in", content=form, headers=OURS)
    assert answer.status_code == 422
    assert "at most 1000 fields" in answer.text


@pytest.mark.parametrize("view", [*VIEWS, "/ui/sign-in", "/ui/programs/no-such-program"])
async def test_pages_run_no_foreign_script_and_stand_in_no_frame(
    service: Service, view: str
) -> None:
    answer = await service.client.get(view)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/ui/programs/no-such-program", 404, "No program has the run_id"),
        ("/ui/programs?status=broken", 422, "status"),
        ("/ui/programs?cursor=broken", 422, "The cursor is not one"),
        ("/ui/jobs/test?job=nobody", 404, "Nobody ever registered"),
        ("/ui/bulk/explode", 422, "action"),
    ],
)
async def test_error_is_a_page_that_says_what_was_wrong(
    service: Service, path: str, status: int, words: str
) -> None:
    answer = await service.client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert words in answer.text


@pytest.mark.parametrize("job", ["", "a\0", "a\nb", "..", "x" * 256, "a\u202eb"])
async def test_test_of_a_job_that_cannot_be_is_a_page_that_says_why(
    service: Service, job: str
) -> None:
    answer = await service.client.post("/ui/jobs/test", data={"job": job}, headers=OURS)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "jobs" in answer.text
    answer = await service.client.get("/ui/jobs/test", params={"job": job})
    assert answer.status_code == 404


async def test_pages_are_not_part_of_the_contract(service: Service) -> None:
    document = (await service.client.get("/openapi.json")).json()
    assert not [path for path in document["paths"] if path.startswith("/ui") or path == "/"]


async def test_behind_a_proxy_links_keep_its_path(database: Database) -> None:
    async with serving(database, jobs=JOBS) as service:
        transport = httpx.ASGITransport(service.app, root_path="/executor")
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            text = (await client.get("/executor/ui/programs")).text
    assert 'href="/executor/ui/failures"' in text
    assert 'action="/executor/ui/programs"' in text
