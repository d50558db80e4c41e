"""Hosts: without keys, a page whose name is led to this machine gets nothing (DNS rebinding)."""

from typing import Any

import pytest

from keys import entry_of
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import Service, problem_of, serving

pytestmark = on_sqlite

LOCAL = ["localhost", "LocalHost:8080", "localhost.", "app.localhost", "127.0.0.1:1", "127.8.0.1"]
REBOUND = {"Host": "evil.example:8080", "Sec-Fetch-Site": "same-origin"}
"""What a browser sends for a page that took 127.0.0.1 for its name."""


@pytest.mark.parametrize("host", [*LOCAL, "[::1]", "[::1]:8080", ""])
async def test_names_of_this_machine_are_answered_to(service: Service, host: str) -> None:
    answer = await service.client.get("/programs", headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "10.0.0.1",
        "0.0.0.0:8080",  # where some browsers reach loopback
        "[::ffff:10.0.0.1]",
        "[evil",
        ":8080",
    ],
)
@pytest.mark.parametrize("path", ["/programs", "/", "/metrics", "/openapi.json"])
async def test_other_names_are_not(service: Service, host: str, path: str) -> None:
    answer = await service.client.get(path, headers={"Host": host})
    detail = problem_of(answer, 403, "other_host")["detail"]
    assert host in detail
    assert "PROGRAM_EXECUTOR_API_KEYS" in detail
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_page_with_another_name_steers_nothing(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    for path in (f"/programs/{run_id}/cancel", f"/ui/programs/{run_id}/cancel"):
        problem_of(await service.client.post(path, headers=REBOUND), 403, "other_host")
    assert (await service.get(run_id))["status"] == "pending"


@pytest.mark.parametrize(
    "settings",
    [
        {"service_url": "https://evil.example/executor"},
        {"allow_unauthenticated": True},
        {"allow_unauthenticated": True, "host": "0.0.0.0"},
    ],
)
async def test_settings_may_allow_another_name(database: Database, settings: Any) -> None:
    async with serving(database, **settings) as service:
        assert (await service.client.get("/programs", headers=REBOUND)).status_code == 200


async def test_with_keys_any_name_will_do(database: Database) -> None:
    async with serving(database, api_keys=entry_of("read")) as service:
        problem_of(await service.client.get("/programs", headers=REBOUND), 401, "unauthorized")
        assert (await service.client.get("/livez", headers=REBOUND)).status_code == 200
