"""Auth: API keys with scopes, known by their hashes only."""

import pytest

from program_service.api.auth import digest_of, new_key
from servers import on_sqlite
from serving import URL, Service, json_of, problem_of, serving

pytestmark = on_sqlite  # who may call is decided before any database is asked

SCOPES = ("submit", "read", "operate", "admin")
KEYS = {scope: new_key(scope) for scope in SCOPES} | {"all": new_key("all")}
ENTRIES = " ".join(f"{scope}={scope}:{digest_of(KEYS[scope])}" for scope in SCOPES)
EVERYTHING_BUT = {
    scope: "+".join(other for other in SCOPES[:3] if other != scope) for scope in SCOPES
}

ROUTES = [
    ("POST", "/programs", "submit"),
    ("POST", "/programs/batch", "submit"),
    ("GET", "/programs", "read"),
    ("GET", "/programs/nope", "read"),
    ("GET", "/programs/nope/attempts", "read"),
    ("GET", "/programs/nope/events", "read"),
    ("GET", "/programs/nope/explain", "read"),
    ("GET", "/programs/nope/job-data/reserve", "read"),
    ("PUT", "/programs/nope/job-data/reserve", "operate"),
    ("PATCH", "/programs/nope/job-data/reserve", "operate"),
    ("POST", "/programs/nope/cancel", "operate"),
    ("POST", "/programs/nope/resume", "operate"),
    ("GET", "/jobs", "read"),
    ("GET", "/jobs/nope", "read"),
    ("PUT", "/jobs/nope", "admin"),
    ("DELETE", "/jobs/nope", "admin"),
    ("POST", "/jobs/nope/rotate-secret", "admin"),
    ("POST", "/token-keys/rotate", "admin"),
    ("GET", "/workers", "read"),
    ("POST", "/keys", "admin"),
    ("GET", "/keys", "admin"),
    ("DELETE", "/keys/nope", "admin"),
    ("GET", "/sessions", "admin"),
    ("GET", "/audit", "read"),
    ("DELETE", "/sessions/nope", "admin"),
]
BY_TOKEN = "/callbacks/"
OPEN = ["/livez", "/readyz", "/metrics", "/openapi.json"]


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_route_wants_a_key_with_its_scope(
    service: Service, method: str, path: str, scope: str
) -> None:
    others = f"{ENTRIES} others={EVERYTHING_BUT[scope]}:{digest_of(KEYS['all'])}"
    body = (
        {}
        if method in {"PUT", "PATCH"} or path.endswith(("resume", "secret", "rotate"))
        else {"jobs": ["reserve"]}
    )
    sent = None if method in {"GET", "DELETE"} or path.endswith("cancel") else body
    async with serving(service.database, api_keys=others) as guarded:

        async def answer_to(key: str | None) -> tuple[int, str]:
            headers = bearer(key) if key else {}
            answer = await guarded.client.request(method, path, json=sent, headers=headers)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
                problem_of(answer, 401, "unauthorized")
            if answer.status_code == 403:
                assert scope in problem_of(answer, 403, "forbidden")["detail"]
            return answer.status_code, answer.text

        for stranger in (None, "pe_wrong_key", digest_of(KEYS[scope]), ""):
            assert (await answer_to(stranger))[0] == 401
        assert (await answer_to(KEYS["all"]))[0] == 403
        for good in {KEYS[scope], KEYS["admin"]}:
            code, text = await answer_to(good)
            assert code in {200, 201, 404, 422}, text


async def test_every_route_of_the_api_is_looked_at(service: Service) -> None:
    def shape(path: str) -> str:
        return path.replace("nope", "{}").replace("reserve", "{}")

    known = {(method, shape(path)) for method, path, _ in ROUTES}
    names = ("run_id", "job", "name", "job:path", "name:path", "key_id", "session_id")
    for path, methods in service.app.openapi()["paths"].items():
        form = path
        for name in names:
            form = form.replace(f"{{{name}}}", "{}")
        for method in methods:
            assert (method.upper(), form) in known or path in OPEN or path.startswith(BY_TOKEN), (
                path
            )


@pytest.mark.parametrize("path", OPEN)
async def test_probes_need_no_key(service: Service, path: str) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        assert (await guarded.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "header", ["Basic {}", "{}", "Bearer", "Bearer  ", "Token {}", "Bearer {} more", "Bearer {}x"]
)
async def test_key_in_another_form_is_no_key(service: Service, header: str) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        headers = {"Authorization": header.format(KEYS["admin"])}
        answer = await guarded.client.get("/programs", headers=headers)
        problem_of(answer, 401, "unauthorized")


async def test_case_of_the_scheme_does_not_matter(service: Service) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        headers = {"Authorization": f"bearer {KEYS['read']}"}
        assert (await guarded.client.get("/programs", headers=headers)).status_code == 200


async def test_program_remembers_the_name_of_the_key(service: Service) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        answer = await guarded.client.post(
            "/programs", json={"jobs": ["reserve"]}, headers=bearer(KEYS["submit"])
        )
        assert json_of(answer)["submitted_by"] == "submit"


async def test_stranger_learns_nothing_about_a_body(service: Service) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        headers = {"Content-Type": "application/json"}
        for content in ("{", '{"jobs": []}', '{"jobs": ["\\u0000"]}', '{"jobs": ["nope"]}'):
            answer = await guarded.client.post("/programs", content=content, headers=headers)
            problem_of(answer, 401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, scope in ROUTES if scope != "read"]
)
async def test_scope_is_looked_at_before_the_body(service: Service, method: str, path: str) -> None:
    async with serving(service.database, api_keys=ENTRIES) as guarded:
        headers = bearer(KEYS["read"]) | {"Content-Type": "application/json"}
        for content in ("{", "[]", '{"jobs": ["\\u0000"]}', " " * 2_000_000):
            answer = await guarded.client.request(method, path, content=content, headers=headers)
            problem_of(answer, 403, "forbidden")


async def test_without_keys_everybody_on_this_machine_may_do_everything(service: Service) -> None:
    program = await service.submit("reserve")
    assert program["submitted_by"] is None
    answer = await service.client.post(f"/programs/{program['run_id']}/cancel")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://seen-from-outside.example"}, 200),
        # over plain http browsers send the first to loopback alone
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[evil"}, 403),
        ({"Origin": URL}, 200),
    ],
)
async def test_without_keys_no_page_of_another_site_may_steer(
    service: Service, headers: dict[str, str], code: int
) -> None:
    path = f"/programs/{(await service.submit('reserve'))['run_id']}"
    answer = await service.client.post(f"{path}/cancel", headers=headers)
    assert answer.status_code == code
    if code == 403:
        problem_of(answer, 403, "cross_site")
    left = json_of(await service.client.get(path, headers=headers))
    assert left["status"] == ("cancelled" if code == 200 else "pending")
