"""Keys that are bound to a label: what is of others is not there, wherever it is asked for."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from builders import JOBS, by_hand, seconds_ago
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from serving import Json, Service, json_of, problem_of, serving

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
TENANT = "tenant=acme"
NEVER = "2099-01-01T00:00:00Z"


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with an administrator's key in the setting."""
    async with serving(database, jobs=JOBS, api_keys=entry_of("admin")) as served:
        yield served


async def tenant(service: Service, label: str = TENANT, *, name: str = "acme") -> dict[str, str]:
    """Make a tenant's key, and return the header that carries it."""
    body = {"name": name, "scopes": ["submit", "read", "operate"], "label": label}
    made = json_of(await service.client.post("/keys", json=body, headers=ADMIN))
    return {"Authorization": f"Bearer {made['key']}"}


async def submitted(service: Service, headers: dict[str, str], **fields: Any) -> Json:
    """Submit a program that waits."""
    body = {"jobs": ["reserve"], "start_at": NEVER, **fields}
    answer = await service.client.post("/programs", json=body, headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return json_of(answer)


async def test_submit_gets_the_label_and_no_other_value_of_it(guarded: Service) -> None:
    acme = await tenant(guarded)
    assert (await submitted(guarded, acme))["labels"] == {"tenant": "acme"}
    labels = {"tenant": "acme", "team": "eu"}
    assert (await submitted(guarded, acme, labels=labels))["labels"] == labels
    other = {"jobs": ["reserve"], "labels": {"tenant": "globex"}}
    answer = await guarded.client.post("/programs", json=other, headers=acme)
    assert "tenant='acme'" in problem_of(answer, 403, "forbidden")["detail"]
    batch = {"programs": [{"jobs": ["reserve"]}, other]}
    answer = await guarded.client.post("/programs/batch", json=batch, headers=acme)
    assert problem_of(answer, 403, "forbidden")["detail"].startswith("programs[1].labels")
    listed = json_of(await guarded.client.get("/programs", headers=ADMIN))["programs"]
    assert len(listed) == 2  # all of the batch, or nothing
    batch = {"programs": [{"jobs": ["reserve"]}]}
    answer = await guarded.client.post("/programs/batch", json=batch, headers=acme)
    (stored,) = json_of(answer)["programs"]
    shown = await guarded.client.get(f"/programs/{stored['run_id']}", headers=acme)
    assert json_of(shown)["labels"] == {"tenant": "acme"}


async def test_parent_of_others_is_not_named(guarded: Service) -> None:
    acme = await tenant(guarded)
    theirs, ours = [
        (await submitted(guarded, ADMIN, labels={"tenant": name}))["run_id"]
        for name in ("globex", "acme")
    ]
    for parent, seen in ((theirs, None), (ours, ours)):
        child = (await submitted(guarded, acme))["run_id"]
        await by_hand(guarded.database, child, parent_run_id=parent)
        path = f"/programs/{child}"
        shown = json_of(await guarded.client.get(path, headers=acme))
        listed = json_of(await guarded.client.get("/programs?limit=1", headers=acme))["programs"]
        steered = json_of(await guarded.client.post(f"{path}/cancel", headers=acme))
        events = await guarded.client.get(f"{path}/events", headers=acme)
        for each in (shown, *listed, steered):
            assert each["parent_run_id"] == seen
        assert (parent in events.text) == (seen is not None)
        full = json_of(await guarded.client.get(path, headers=ADMIN))
        assert full["parent_run_id"] == parent


OF_ONE = [
    ("GET", "", None),
    ("GET", "/attempts", None),
    ("GET", "/events", None),
    ("GET", "/explain", None),
    ("GET", "/job-data/reserve", None),
    ("PUT", "/job-data/reserve", {"a": 1}),
    ("PATCH", "/job-data/reserve", {"a": 1}),
    ("POST", "/cancel", None),
    ("POST", "/resume", {}),
]


@pytest.mark.parametrize("labels", [{}, {"tenant": "globex"}, {"tenant": "Acme"}, {"team": "acme"}])
async def test_program_of_others_is_not_there(guarded: Service, labels: dict[str, str]) -> None:
    acme = await tenant(guarded)
    theirs = await submitted(guarded, ADMIN, labels=labels)
    for method, part, body in OF_ONE:
        path = f"/programs/{theirs['run_id']}{part}"
        answer = await guarded.client.request(method, path, json=body, headers=acme)
        seen = problem_of(answer, 404, "program_not_found")
        missing = await guarded.client.request(
            method, path.replace(theirs["run_id"], "0"), json=body, headers=acme
        )
        assert seen["detail"] == json_of(missing)["detail"].replace("'0'", repr(theirs["run_id"]))
    answer = await guarded.client.get(f"/audit?run_id={theirs['run_id']}", headers=acme)
    problem_of(answer, 404, "program_not_found")
    left = json_of(await guarded.client.get(f"/programs/{theirs['run_id']}", headers=ADMIN))
    assert (left["status"], left["job_data"]) == ("scheduled", {})


async def test_own_program_is_seen_and_steered(guarded: Service) -> None:
    acme = await tenant(guarded)
    ours = await submitted(guarded, ADMIN, labels={"tenant": "acme"})
    for method, part, body in OF_ONE:
        path = f"/programs/{ours['run_id']}{part}"
        if part == "/events":
            continue  # it does not end
        answer = await guarded.client.request(method, path, json=body, headers=acme)
        assert answer.status_code == 200, answer.text
    entries = await guarded.client.get(f"/audit?run_id={ours['run_id']}", headers=acme)
    found = json_of(entries)["entries"]
    assert [each["action"] for each in found][:2] == ["program_resumed", "program_cancelled"]
    assert {each["client"] for each in found} == {None}


async def test_lists_have_own_programs_alone(guarded: Service) -> None:
    acme = await tenant(guarded)
    for labels in ({}, {"tenant": "globex"}, {"tenant": "acme"}, {"tenant": "acme", "a": "b"}):
        await submitted(guarded, ADMIN, labels=labels)

    async def count(query: str) -> int:
        answer = await guarded.client.get(f"/programs{query}", headers=acme)
        return len(json_of(answer)["programs"])

    assert await count("") == await count("?status=scheduled") == 2
    assert await count("?label=a:b") == 1
    assert await count("?label=tenant:globex") == 0
    first = json_of(await guarded.client.get("/programs?limit=1", headers=acme))
    assert await count(f"?cursor={first['next_cursor']}") == 1


async def test_what_is_of_all_is_for_others(guarded: Service) -> None:
    acme = await tenant(guarded)
    for path in ("/workers", "/audit"):
        problem_of(await guarded.client.get(path, headers=acme), 403, "forbidden")
    for path in ("/keys", "/sessions"):
        problem_of(await guarded.client.get(path, headers=acme), 403, "forbidden")


async def test_idempotency_keys_are_of_the_label(guarded: Service) -> None:
    """Keys of one name share them; those of another tenant, or of none, never."""
    key = {"Idempotency-Key": '"order-1"'}
    tenants = [await tenant(guarded, label, name="shop") for label in (TENANT, "tenant=globex")]
    body = {"name": "shop", "scopes": ["submit", "read"]}
    unbound = json_of(await guarded.client.post("/keys", json=body, headers=ADMIN))["key"]
    callers = [*tenants, {"Authorization": f"Bearer {unbound}"}]
    run_ids = {(await submitted(guarded, each | key))["run_id"] for each in callers}
    assert len(run_ids) == 3
    again = await tenant(guarded, TENANT, name="shop")
    assert (await submitted(guarded, again | key))["run_id"] in run_ids


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"label": "tenant"}, 422),
        ({"label": "=acme"}, 422),
        ({"label": "ten:ant=acme"}, 422),
        ({"label": TENANT, "scopes": ["admin"]}, 422),
        ({"label": ""}, 422),
    ],
)
async def test_label_that_no_program_can_have_is_refused(
    guarded: Service, wrong: Json, code: int
) -> None:
    body = {"name": "acme", "scopes": ["read"]} | wrong
    answer = await guarded.client.post("/keys", json=body, headers=ADMIN)
    problem_of(answer, code, "invalid")


async def on_pages(service: Service) -> httpx.AsyncClient:
    """Sign a tenant in, and return the browser."""
    key = (await tenant(service))["Authorization"].removeprefix("Bearer ")
    answer = await service.client.post("/ui/sign-in", data={"key": key}, headers=OURS)
    assert answer.status_code == 303
    return service.client


async def test_pages_show_own_programs_alone(guarded: Service) -> None:
    theirs = (await submitted(guarded, ADMIN, labels={"tenant": "globex"}))["run_id"]
    ours = (await submitted(guarded, ADMIN, labels={"tenant": "acme"}))["run_id"]
    admin = await guarded.client.get("/ui/programs")  # nobody is signed in
    assert admin.status_code == 303
    browser = await on_pages(guarded)
    page = (await browser.get("/ui/programs")).text
    assert (ours in page, theirs in page) == (True, False)
    assert (await browser.get("/")).headers["location"] == "/ui/programs"
    for path in ("/ui/workers", "/ui/jobs", "/ui/workers/drain?worker=a"):
        assert (await browser.get(path)).status_code == 403
    assert (
        await browser.post("/ui/workers/drain", data={"worker": "a"}, headers=OURS)
    ).status_code == 403
    assert (await browser.get(f"/ui/programs/{ours}")).status_code == 200
    for part in ("", "/cancel", "/resume", "/feed"):
        assert (await browser.get(f"/ui/programs/{theirs}{part}")).status_code == 404
    for part in ("cancel", "resume"):
        answer = await browser.post(f"/ui/programs/{theirs}/{part}", headers=OURS)
        assert answer.status_code == 404


async def test_bulk_and_failures_are_of_own_programs(guarded: Service) -> None:
    theirs = (await submitted(guarded, ADMIN, labels={"tenant": "globex"}))["run_id"]
    ours = (await submitted(guarded, ADMIN, labels={"tenant": "acme"}))["run_id"]
    browser = await on_pages(guarded)
    preview = (await browser.get("/ui/bulk/cancel")).text
    assert (ours in preview, theirs in preview) == (True, False)
    await browser.post("/ui/bulk/cancel", headers=OURS)

    async def status(run_id: str) -> Any:
        answer = await guarded.client.get(f"/programs/{run_id}", headers=ADMIN)
        return json_of(answer)["status"]

    assert (await status(ours), await status(theirs)) == ("cancelled", "scheduled")
    group = {"job": "reserve", "pattern": "no seats"}
    await _fail(guarded.database, theirs, group["pattern"])
    assert "no seats" not in (await browser.get("/ui/failures")).text
    assert theirs not in (await browser.get("/ui/failures/resume", params=group)).text
    await browser.post("/ui/failures/resume", data=group, headers=OURS)
    assert await status(theirs) == "errored"


async def _fail(database: Database, run_id: str, message: str) -> None:
    await by_hand(database, run_id, errored_at=seconds_ago(database, 1), error_message=message)
