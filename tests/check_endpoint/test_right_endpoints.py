"""Endpoints that do everything right: nothing is wrong, and what was looked at is told."""

import pytest

from check_endpoint.samples import Check, LateEndpoint, RightEndpoint, found
from endpoint_server import Call, Reply

LOOKED_AT = {
    "call",
    "answer",
    "replay",
    "wrong signature",
    "no signature",
    "changed body",
    "old timestamp",
    "two signatures",
    "unknown fields",
}
LATER_TOO = LOOKED_AT | {"completion", "replay after its end"}


async def test_endpoint_that_answers_at_once_is_right(check: Check) -> None:
    endpoint = RightEndpoint()
    report = await check(endpoint)
    assert {each.check for each in report.findings} == LOOKED_AT
    assert set(found(report, "right")) == LOOKED_AT
    assert endpoint.runs == 3  # the first step, the rotation, the later version


@pytest.mark.parametrize("body", [b"", {}, {"job_data": {}}, {"job_data": None, "error": None}])
async def test_body_may_be_left_out(check: Check, body: bytes | dict[str, object]) -> None:
    report = await check(RightEndpoint(Reply(204 if body == b"" else 200, body)))
    assert set(found(report, "right")) == LOOKED_AT


async def test_endpoint_that_completes_later_is_right(check: Check) -> None:
    endpoint = LateEndpoint(heartbeats=2)
    report = await check(endpoint)
    assert set(found(report, "right")) == LATER_TOO
    assert set(found(report, "note")) == {"heartbeats", "stale completion"}
    assert "2 came" in found(report, "note")["heartbeats"]
    assert endpoint.statuses[:2] == [200, 409]


async def test_completion_without_a_body_of_its_own_is_right(check: Check) -> None:
    report = await check(LateEndpoint(completion={}))
    assert report.is_right
    assert "with a valid body" in found(report, "right")["completion"]


async def test_completion_after_each_call_is_right(check: Check) -> None:
    """What is run again by every call completes once for each: both are fine."""
    endpoint = LateEndpoint()

    async def forget(call: Call) -> Reply:
        key = call.headers["webhook-id"]
        endpoint.done.discard(key)
        endpoint.newest.pop(key, None)
        return await endpoint(call)

    report = await check(forget)
    assert report.is_right
    assert "completed once more" in found(report, "right")["replay after its end"]


async def test_heartbeats_move_the_deadline(check: Check) -> None:
    """A job three times as long as its limit has time, as long as it says so."""
    endpoint = LateEndpoint(heartbeats=6, pause_s=0.5)
    report = await check(endpoint, timeout_s=1.5)
    assert report.is_right
    assert "6 came" in found(report, "note")["heartbeats"]


async def test_job_that_fails_is_told_and_not_wrong(check: Check) -> None:
    failure = Reply(422, {"error": {"message": "no prices", "retryable": False}})
    report = await check(RightEndpoint(failure))
    assert report.is_right
    assert "the job fails for good: 'no prices'" in found(report, "warning")["call"]
    assert "--program-data" in found(report, "warning")["call"]


async def test_failure_by_the_links_is_told_and_not_wrong(check: Check) -> None:
    error = {"message": "no stock", "retryable": True}
    report = await check(LateEndpoint(completion={"error": error}, link="fail"))
    assert report.is_right
    assert "to be tried again: 'no stock'" in found(report, "warning")["completion"]


async def test_calls_are_those_of_the_protocol(check: Check) -> None:
    calls: list[Call] = []
    endpoint = RightEndpoint()

    async def remember(call: Call) -> Reply:
        calls.append(call)
        return await endpoint(call)

    await check(remember, job="sum", program_data={"prices": [1, 2]})
    first, again = calls[0], calls[1]
    run_id = first.json["run_id"]
    assert first.headers["webhook-id"] == first.headers["idempotency-key"] == f"{run_id}-0"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-program-attempt"] == "1"
    assert first.headers["x-program-deadline"]
    assert first.headers["traceparent"].startswith("00-")
    expected = {"type": "job.execute", "job": "sum", "step": 0, "attempt": 1, "jobs": ["sum"]}
    assert expected.items() <= first.json.items()
    assert (first.json["program_data"], first.json["job_data"]) == ({"prices": [1, 2]}, {})
    assert set(first.links) == {"job_data", "heartbeat", "complete", "fail"}
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert (again.json["attempt"], again.headers["x-program-attempt"]) == (2, "2")
    assert again.links["complete"] != first.links["complete"]
