"""The audit trail in the table: who did what, when and why, written with what was done."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from builders import JOBS
from forgetting import Forgetful
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.auditing import Entry, forget_entries, write_entry
from servers import Connect, on_sqlite
from serving import Json, Service, json_of, problem_of, serving

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}
READER = {"Authorization": f"Bearer {KEYS['read']}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
ENTRIES = f"{entry_of('read')} {entry_of('admin')}"


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with keys."""
    async with serving(database, jobs=JOBS, api_keys=ENTRIES) as served:
        yield served


async def done(service: Service, method: str, path: str, **sent: Any) -> Json:
    """Do something as an administrator."""
    answer = await service.client.request(method, path, headers=ADMIN, **sent)
    assert answer.is_success, answer.text
    return json_of(answer) if answer.content else {}


async def submitted(service: Service) -> str:
    """Submit a program, and return its run_id."""
    program = await done(service, "POST", "/programs", json={"jobs": ["reserve"]})
    return str(program["run_id"])


async def audited(service: Service, query: str = "", **headers: str) -> list[Json]:
    """Return the audit trail."""
    answer = await service.client.get(f"/audit{query}", headers=headers or ADMIN)
    found: list[Json] = json_of(answer)["entries"]
    return found


async def test_what_is_done_to_a_program_is_kept_with_its_reason(guarded: Service) -> None:
    run_id = await submitted(guarded)
    path = f"/programs/{run_id}"
    await done(guarded, "PATCH", f"{path}/job-data/reserve", json={"card": "4242"})
    await done(guarded, "POST", f"{path}/cancel", params={"reason": "by mistake"})
    await done(guarded, "POST", f"{path}/cancel")  # it is cancelled already: nothing is done
    await done(guarded, "POST", f"{path}/resume", json={}, params={"reason": "it was right"})
    found = await audited(guarded, f"?run_id={run_id}")
    assert [(each["action"], each["actor"], each["reason"]) for each in found] == [
        ("program_resumed", "admin", "it was right"),
        ("program_cancelled", "admin", "by mistake"),
        ("job_data_changed", "admin", None),
    ]
    assert found[0]["detail"] == {"step": 0, "job": "reserve"}
    assert found[2]["target"] == "reserve"
    assert "4242" not in str(found)
    assert {each["client"] for each in found} == {"127.0.0.1"}


async def test_what_is_done_to_jobs_keys_and_sessions_is_kept_for_administrators(
    guarded: Service,
) -> None:
    url = {"url": "https://shop.example/invoice"}
    await done(guarded, "PUT", "/jobs/invoice", json=url)
    await done(guarded, "PUT", "/jobs/invoice", json=url)
    await done(guarded, "POST", "/jobs/invoice/rotate-secret", json={})
    await done(guarded, "DELETE", "/jobs/invoice", params={"reason": "unused"})
    await done(guarded, "POST", "/token-keys/rotate", json={})
    key = await done(guarded, "POST", "/keys", json={"name": "ada", "scopes": ["read"]})
    await done(guarded, "DELETE", f"/keys/{key['id']}")
    for _ in range(2):
        await guarded.client.post("/ui/sign-in", data={"key": KEYS["admin"]}, headers=OURS)
    (session, _) = (await done(guarded, "GET", "/sessions"))["sessions"]
    await guarded.client.post("/ui/sign-out", headers=OURS)
    left = (await done(guarded, "GET", "/sessions"))["sessions"]
    await done(guarded, "DELETE", f"/sessions/{left[0]['id']}")
    found = await audited(guarded)
    assert [each["action"] for each in reversed(found)] == [
        *("job_registered", "job_registered", "secret_rotated", "job_deleted"),
        *("token_key_rotated", "key_made", "key_revoked"),
        *("signed_in", "signed_in", "signed_out", "session_ended"),
    ]
    by_action = {each["action"]: each for each in found}
    assert by_action["job_deleted"]["reason"] == "unused"
    assert by_action["key_made"]["target"] == by_action["key_revoked"]["target"] == key["id"]
    assert by_action["session_ended"]["target"] in {session["id"], left[0]["id"]}
    for secret in (KEYS["admin"], key["key"]):
        assert secret not in str(found)
    assert await audited(guarded, **READER) == []


async def test_readers_see_what_was_done_to_programs_without_addresses(guarded: Service) -> None:
    run_id = await submitted(guarded)
    await done(guarded, "POST", f"/programs/{run_id}/cancel")
    (entry,) = await audited(guarded, **READER)
    assert (entry["action"], entry["client"]) == ("program_cancelled", None)


async def test_trail_is_read_by_pages_and_filters(guarded: Service) -> None:
    run_ids = [await submitted(guarded) for _ in range(3)]
    for run_id in run_ids:
        await done(guarded, "POST", f"/programs/{run_id}/cancel")
        await done(guarded, "POST", f"/programs/{run_id}/resume", json={})
    seen, path = [], "/audit?action=program_resumed&actor=admin&limit=2"
    while path:
        answer = await guarded.client.get(path, headers=ADMIN)
        seen += [each["run_id"] for each in json_of(answer)["entries"]]
        path = answer.links.get("next", {}).get("url", "")
    assert seen == run_ids[::-1]
    assert await audited(guarded, "?actor=nobody") == []
    for wrong in ("cursor=%00", "limit=0", "color=red"):
        answer = await guarded.client.get(f"/audit?{wrong}", headers=ADMIN)
        problem_of(answer, 422, "invalid")


async def test_program_page_says_who_resumed_it_and_why(guarded: Service) -> None:
    run_id = await submitted(guarded)
    await guarded.client.post("/ui/sign-in", data={"key": KEYS["admin"]}, headers=OURS)
    for action, reason in (("cancel", "<b>late</b>"), ("resume", "in time")):
        form = {"reason": reason, "from_step": "0"}
        path = f"/ui/programs/{run_id}/{action}"
        assert (await guarded.client.post(path, data=form, headers=OURS)).status_code == 303
    page = (await guarded.client.get(f"/ui/programs/{run_id}")).text
    assert "resumed by <strong>admin</strong>" in page
    assert "in time" in page
    assert "&lt;b&gt;late&lt;/b&gt;" in page


@on_sqlite
async def test_bulk_is_kept_for_each_program_and_in_all(guarded: Service) -> None:
    run_ids = [await submitted(guarded) for _ in range(2)]
    await guarded.client.post("/ui/sign-in", data={"key": KEYS["admin"]}, headers=OURS)
    form = {"reason": "a bad deployment"}
    await guarded.client.post("/ui/bulk/cancel", data=form, headers=OURS)
    found = [each for each in await audited(guarded) if each["action"] != "signed_in"]
    assert [each["action"] for each in found] == ["programs_steered", *["program_cancelled"] * 2]
    assert {each["reason"] for each in found} == {"a bad deployment"}
    assert {each["run_id"] for each in found[1:]} == set(run_ids)
    assert found[0]["detail"] == {"what": "cancel", "programs": 2}


@on_sqlite
async def test_entry_is_committed_with_the_change_or_not_at_all(connect: Connect) -> None:
    forgetful = connect.of(Forgetful)
    async with serving(forgetful, jobs=JOBS, api_keys=ENTRIES) as service:
        run_id = await submitted(service)
        forgetful.losses.of_works, forgetful.losses.to_come = {"cancel"}, 1
        await done(service, "POST", f"/programs/{run_id}/cancel")
        assert forgetful.losses.to_come == 0
        assert len(await audited(service)) == 1
        refused = await service.client.post(f"/programs/{run_id}/resume", headers=READER, json={})
        assert refused.status_code == 403
        assert len(await audited(service)) == 1


async def test_old_entries_are_forgotten(database: Database) -> None:
    ids = [f"00000000-0000-7000-8000-{number:012x}" for number in range(3)]
    for each in ids:
        await database.transact(write_entry, Entry("odd", "ada", "127.0.0.1", id=each))
    await database.transact(write_entry, Entry("odd", "ada", "127.0.0.1"))
    year = timedelta(days=365)
    assert await database.transact(forget_entries, older_than=year, limit=2) == 2
    assert await database.transact(forget_entries, older_than=year, limit=2) == 1
    assert await database.transact(forget_entries, older_than=year, limit=2) == 0
