"""The audit log: who did what, from where, in lines that never change their names."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from builders import JOBS
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.workers import Worker, beat
from servers import on_sqlite
from serving import Json, Service, serving

pytestmark = on_sqlite

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
WHO = {"by": "admin", "client": "127.0.0.1"}


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with keys."""
    entries = f"{entry_of('read')} {entry_of('admin')}"
    async with serving(database, jobs=JOBS, api_keys=entries) as served:
        yield served


async def submitted(service: Service) -> str:
    """Submit a program, and return its run_id."""
    answer = await service.client.post("/programs", json={"jobs": ["reserve"]}, headers=ADMIN)
    return str(answer.json()["run_id"])


def audited(lines: Any) -> list[Json]:
    """Return the lines of the audit log, without their level."""
    found = [line for line in lines if line["event"].startswith("audit.")]
    assert {line["log_level"] for line in found} <= {"info"}
    return [{name: value for name, value in line.items() if name != "log_level"} for line in found]


async def told(service: Service, method: str, path: str, body: Any = None) -> list[Json]:
    """Return what the audit log says of a request."""
    with capture_logs() as lines:
        answer = await service.client.request(method, path, json=body, headers=ADMIN)
    assert answer.is_success, answer.text
    return audited(lines)


async def test_cancel_and_resume_are_told_once(guarded: Service) -> None:
    run_id = await submitted(guarded)
    path = f"/programs/{run_id}"
    cancelled = {"event": "audit.program_cancelled", "run_id": run_id} | WHO
    assert await told(guarded, "POST", f"{path}/cancel") == [cancelled]
    assert await told(guarded, "POST", f"{path}/cancel") == []  # it was already
    resumed = {"event": "audit.program_resumed", "run_id": run_id, "step": 0} | WHO
    assert await told(guarded, "POST", f"{path}/resume", {}) == [resumed]


@pytest.mark.parametrize(("method", "what"), [("PUT", "set"), ("PATCH", "merge")])
async def test_changed_job_data_are_told_and_not_shown(
    guarded: Service, method: str, what: str
) -> None:
    run_id = await submitted(guarded)
    path = f"/programs/{run_id}/job-data/reserve"
    changed = {"event": "audit.job_data_changed", "what": what, "run_id": run_id, "job": "reserve"}
    assert await told(guarded, method, path, {"card": "4242"}) == [changed | WHO]


async def test_endpoints_are_told(guarded: Service) -> None:
    url, named = {"url": "https://shop.example/invoice"}, {"job": "invoice"} | WHO
    put = {"event": "audit.job_registered"} | named
    assert await told(guarded, "PUT", "/jobs/invoice", url) == [put | {"what": "new"}]
    assert await told(guarded, "PUT", "/jobs/invoice", url) == [put | {"what": "changed"}]
    rotated = await told(guarded, "POST", "/jobs/invoice/rotate-secret", {})
    assert rotated == [{"event": "audit.secret_rotated"} | named]
    deleted = await told(guarded, "DELETE", "/jobs/invoice")
    assert deleted == [{"event": "audit.job_deleted"} | named]


async def test_rotated_token_key_is_told(guarded: Service) -> None:
    rotated = await told(guarded, "POST", "/token-keys/rotate", {"overlap_s": 60})
    assert rotated == [{"event": "audit.token_key_rotated", "overlap_s": 60.0} | WHO]


async def pressed(service: Service, path: str, **form: str) -> list[Json]:
    """Return what the audit log says of a form of the dashboard."""
    with capture_logs() as lines:
        answer = await service.client.post(path, data=form, headers=OURS)
    assert answer.status_code == 303, answer.text
    return audited(lines)


async def test_dashboard_is_told(guarded: Service) -> None:
    signed_in = await pressed(guarded, "/ui/sign-in", key=KEYS["admin"])
    assert signed_in == [{"event": "audit.signed_in"} | WHO]
    run_id = await submitted(guarded)
    (cancelled,) = await pressed(guarded, f"/ui/programs/{run_id}/cancel")
    assert cancelled == {"event": "audit.program_cancelled", "run_id": run_id} | WHO
    (resumed,) = await pressed(guarded, f"/ui/programs/{run_id}/resume", from_step="0")
    assert resumed["event"] == "audit.program_resumed"
    worker = Worker("worker-1", "pod-7", "1.2.3", [], [], 9, 1, newest_wakeups={})
    await guarded.database.transact(beat, worker)
    (drained,) = await pressed(guarded, "/ui/workers/drain", worker="worker-1")
    assert drained == {"event": "audit.worker_drained", "worker": "worker-1"} | WHO
    assert await pressed(guarded, "/ui/workers/drain", worker="nobody") == []
    await submitted(guarded)
    *each, all_of_them = await pressed(guarded, "/ui/bulk/cancel")
    assert [line["event"] for line in each] == ["audit.program_cancelled"] * 2
    bulk = {"event": "audit.programs_steered", "what": "cancel", "programs": 2}
    assert all_of_them == bulk | WHO


async def test_what_is_refused_is_no_operation(guarded: Service) -> None:
    run_id = await submitted(guarded)
    reader = {"Authorization": f"Bearer {KEYS['read']}"}
    with capture_logs() as lines:
        answer = await guarded.client.post(f"/programs/{run_id}/cancel", headers=reader)
    assert answer.status_code == 403
    assert audited(lines) == []


async def test_without_keys_anybody_did_it(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    with capture_logs() as lines:
        await service.cancel(run_id)
    assert [line["by"] for line in audited(lines)] == ["anybody"]


async def test_address_is_that_of_the_client(guarded: Service) -> None:
    run_id = await submitted(guarded)
    transport = httpx.ASGITransport(guarded.app, client=("2001:db8::7", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        with capture_logs() as lines:
            await client.post(f"/programs/{run_id}/cancel", headers=ADMIN)
    assert [line["client"] for line in audited(lines)] == ["2001:db8::7"]
