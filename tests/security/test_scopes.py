"""Scopes: who may operate and not read learns nothing of a program; strangers no id either."""

import pytest

from builders import JOBS
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import Json, Service, json_of, problem_of, serving

pytestmark = on_sqlite

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}
OPERATOR = {"Authorization": f"Bearer {KEYS['operate']}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
SECRET = "4242"
PROGRAM = {
    "jobs": ["reserve", "charge"],
    "program_data": {"card": SECRET},
    "job_data": {"charge": {"card": SECRET}},
    "labels": {"of": SECRET},
}


async def submitted(service: Service) -> str:
    """Submit a program with something in each field."""
    answer = await service.client.post("/programs", json=PROGRAM, headers=ADMIN)
    return str(json_of(answer)["run_id"])


@pytest.mark.parametrize("action", ["cancel", "cancel twice", "resume"])
async def test_operator_who_may_not_read_gets_a_receipt(database: Database, action: str) -> None:
    entries = f"{entry_of('operate')} {entry_of('admin')}"
    async with serving(database, jobs=JOBS, api_keys=entries) as service:
        run_id = await submitted(service)
        path = f"/programs/{run_id}"
        answer = await service.client.post(f"{path}/cancel", headers=OPERATOR)
        if action != "cancel":
            verb = action.split(maxsplit=1)[0]
            sent: Json | None = {} if verb == "resume" else None
            answer = await service.client.post(f"{path}/{verb}", json=sent, headers=OPERATOR)
        receipt = json_of(answer)
        assert receipt["run_id"] == run_id
        assert receipt["status"] == ("pending" if action == "resume" else "cancelled")
        for word in (SECRET, "charge", "reserve"):
            assert word not in answer.text
        full = json_of(await service.client.get(path, headers=ADMIN))
        assert receipt.keys() == full.keys()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_operator_who_may_not_read_is_shown_what_was_sent(
    database: Database, method: str
) -> None:
    entries = f"{entry_of('operate')} {entry_of('admin')}"
    async with serving(database, jobs=JOBS, api_keys=entries) as service:
        path = f"/programs/{await submitted(service)}/job-data"
        for body in ({}, {"a": 1}):
            answer = await service.client.request(
                method, f"{path}/charge", json=body, headers=OPERATOR
            )
            assert (answer.status_code, json_of(answer)) == (200, body)
        answer = await service.client.request(method, f"{path}/nope", json={}, headers=OPERATOR)
        assert "charge" not in problem_of(answer, 404, "job_not_in_program")["detail"]


@pytest.mark.parametrize("scope", ["operate", "submit"])
async def test_pages_are_for_readers(database: Database, scope: str) -> None:
    entries = f"{entry_of(scope)} {entry_of('admin')}"
    async with serving(database, jobs=JOBS, api_keys=entries) as service:
        run_id = await submitted(service)
        form = {"key": KEYS[scope]}
        await service.client.post("/ui/sign-in", data=form, headers=OURS)
        for path in (
            *("/", "/ui/programs", f"/ui/programs/{run_id}", f"/ui/programs/{run_id}/cancel"),
            *(f"/ui/programs/{run_id}/resume", "/ui/bulk/cancel", "/ui/jobs/test?job=charge"),
        ):
            answer = await service.client.get(path)
            assert answer.status_code == 403, path
            assert SECRET not in answer.text
            assert run_id not in answer.text.replace(path, "")


@pytest.mark.parametrize("part", ["", "/cancel", "/resume", "/feed"])
async def test_strangers_are_asked_for_a_key_whether_there_is_a_program_or_not(
    guarded: Service, part: str
) -> None:
    run_id = await submitted(guarded)
    for each in (run_id, "no-such-program"):
        answer = await guarded.client.get(f"/ui/programs/{each}{part}")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/ui/sign-in?to=")
