"""Limits: failed tries by address, and requests by key; right keys and probes always pass."""

from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from builders import JOBS
from keys import KEYS, entry_of
from program_executor import AsyncClient, ProblemError
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import URL, Service, problem_of, serving

pytestmark = on_sqlite

ENTRIES = f"{entry_of('read')} {entry_of('admin')}"
OURS = {"Sec-Fetch-Site": "same-origin"}
MOST = 3


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with keys, and let addresses fail three times."""
    async with serving(
        database, jobs=JOBS, api_keys=ENTRIES, failed_tries_per_minute=MOST
    ) as served:
        yield served


@pytest.fixture
async def limited(database: Database) -> AsyncIterator[Service]:
    """Serve with keys that may ask three times a minute."""
    async with serving(
        database, jobs=JOBS, api_keys=ENTRIES, rate_limit=MOST, rate_limit_window_s=60
    ) as served:
        yield served


async def statuses(service: Service, headers: dict[str, str], times: int) -> list[int]:
    """Ask for the list again and again."""
    answers = [await service.client.get("/programs", headers=headers) for _ in range(times)]
    return [answer.status_code for answer in answers]


async def test_wrong_keys_are_told_to_wait_and_right_ones_pass(guarded: Service) -> None:
    assert await statuses(guarded, bearer("wrong"), MOST) == [401] * MOST
    answer = await guarded.client.get("/programs", headers=bearer("wrong"))
    problem_of(answer, 429, "too_many_failed_tries")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert await statuses(guarded, bearer(KEYS["read"]), 5) == [200] * 5
    assert await statuses(guarded, {}, 2) == [401, 401]  # no key is no try


async def test_other_addresses_are_not_told_to_wait(guarded: Service) -> None:
    await statuses(guarded, bearer("wrong"), MOST + 1)
    elsewhere = httpx.ASGITransport(guarded.app, client=("10.9.8.7", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url=URL) as client:
        answer = await client.get("/programs", headers=bearer("wrong"))
    assert answer.status_code == 401


async def test_wrong_tokens_sign_ins_and_cookies_are_tries_too(guarded: Service) -> None:
    answers = [
        await guarded.client.post("/callbacks/wrong.token/complete", json={}),
        await guarded.client.post("/ui/sign-in", data={"key": "wrong"}, headers=OURS),
        await guarded.client.get("/", headers={"Cookie": "program_executor_session=wrong"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 401, 303]
    answer = await guarded.client.post("/callbacks/wrong.token/complete", json={})
    problem_of(answer, 429, "too_many_failed_tries")
    page = await guarded.client.post("/ui/sign-in", data={"key": "wrong"}, headers=OURS)
    assert page.status_code == 429
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["retry-after"]
    form = {"key": KEYS["read"]}
    assert (await guarded.client.post("/ui/sign-in", data=form, headers=OURS)).status_code == 303


async def test_log_tells_of_failed_tries_and_is_not_flooded(guarded: Service) -> None:
    with capture_logs() as lines:
        await statuses(guarded, bearer("wrong"), 10)
    told = [line["event"] for line in lines]
    assert told == ["audit.refused"] * MOST + ["audit.too_many_failed_tries"]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert "wrong" not in str(lines)


async def test_tries_need_not_be_limited(database: Database) -> None:
    async with serving(database, api_keys=ENTRIES, failed_tries_per_minute=0) as service:
        assert await statuses(service, bearer("wrong"), 40) == [401] * 40


async def test_key_may_ask_so_often_and_is_told_what_is_left(limited: Service) -> None:
    for left in (2, 1, 0):
        answer = await limited.client.get("/programs", headers=bearer(KEYS["read"]))
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
        assert answer.headers["ratelimit"].startswith(f'"key";r={left};t=')
    answer = await limited.client.get("/programs", headers=bearer(KEYS["read"]))
    problem_of(answer, 429, "rate_limited")
    assert answer.headers["ratelimit"].startswith('"key";r=0;t=')
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-content-type-options"] == "nosniff"
    metrics = (await limited.client.get("/metrics")).text
    counted = 'http_requests_total{code="429",method="GET",route="/programs"} 1.0'
    assert counted in metrics


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/programs", b"{"),
        ("POST", "/programs/batch", b"{"),
        ("GET", "/programs/nope", b""),
        ("GET", "/programs/nope/events", b""),
        ("GET", "/programs/nope/explain", b""),
        ("GET", "/jobs", b""),
        ("PUT", "/jobs/nope", b"{"),
    ],
)
async def test_every_request_is_counted_once_and_looked_at_before_its_body(
    limited: Service, method: str, path: str, body: bytes
) -> None:
    headers = bearer(KEYS["admin"]) | {"Content-Type": "application/json"}
    for left in (2, 1, 0):
        answer = await limited.client.request(method, path, content=body, headers=headers)
        assert answer.status_code < 429
        assert answer.headers["ratelimit"].startswith(f'"key";r={left};t=')
    answer = await limited.client.request(method, path, content=body, headers=headers)
    problem_of(answer, 429, "rate_limited")


async def test_other_keys_probes_and_pages_are_not_limited(limited: Service) -> None:
    await statuses(limited, bearer(KEYS["read"]), MOST + 1)
    assert await statuses(limited, bearer(KEYS["admin"]), 1) == [200]
    for path in ("/livez", "/readyz", "/metrics", "/ui/sign-in"):
        for _ in range(MOST + 1):
            answer = await limited.client.get(path, headers=bearer(KEYS["read"]))
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


async def test_strangers_spend_nobodys_requests(limited: Service) -> None:
    assert await statuses(limited, bearer("wrong"), 5) == [401] * 5
    assert await statuses(limited, bearer(KEYS["read"]), 1) == [200]


async def test_without_a_limit_no_answer_tells_of_one(guarded: Service) -> None:
    answer = await guarded.client.get("/programs", headers=bearer(KEYS["read"]))
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_client_waits_as_long_as_it_is_told_to(database: Database) -> None:
    async with serving(
        database, jobs=JOBS, api_keys=ENTRIES, rate_limit=1, rate_limit_window_s=1
    ) as service:
        transport = httpx.ASGITransport(service.app)
        async with AsyncClient(URL, key=KEYS["admin"], transport=transport) as client:
            (run_id,) = await client.submit_batch([{"jobs": ["ship"]}])
            # also what is not safe to repeat: a refusal has done nothing
            (other,) = await client.submit_batch([{"jobs": ["ship"]}])
            assert run_id != other
            assert len([each async for each in client.programs()]) == 2


async def test_client_with_a_wrong_key_does_not_wait(guarded: Service) -> None:
    await statuses(guarded, bearer("wrong"), MOST)
    transport = httpx.ASGITransport(guarded.app)
    async with AsyncClient(URL, key="wrong", transport=transport) as client:
        with pytest.raises(ProblemError, match="429 too_many_failed_tries"):
            await client.jobs()
