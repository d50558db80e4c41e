"""Endpoints that do one thing wrong: it is found, in words that say what would be right."""

import asyncio
import base64
import gzip
import hmac
import json
from typing import Any

import httpx
import pytest

from check_endpoint.samples import SECRET, Check, LateEndpoint, RightEndpoint, found, is_ours
from endpoint_server import Call, Reply
from program_service.webhooks.caller import LIMIT_BYTES

LATE_S = 1.0
HTML = Reply(200, b"<!doctype html><title>Log in</title>", {"content-type": "text/html"})
GZIP = Reply(200, gzip.compress(b'{"job_data": {}}'), {"content-encoding": "gzip"})
LONG = Reply(200, {"job_data": {"text": "x" * LIMIT_BYTES}})
AGAIN_NOT_BOOL = Reply(200, {"error": {"message": "no", "retryable": "yes"}})


async def test_any_signature_is_accepted(check: Check) -> None:
    report = await check(RightEndpoint(verify=lambda _call: True))
    wrong = found(report, "wrong")
    assert set(wrong) == {"wrong signature", "no signature", "changed body"}
    assert all("verify the signature over the raw body" in text for text in wrong.values())
    assert "more than five minutes off" in found(report, "warning")["old timestamp"]


async def test_old_timestamp_is_a_warning(check: Check) -> None:
    def fits_at_any_time(call: Call) -> bool:
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        parts = [call.headers["webhook-id"], call.headers["webhook-timestamp"], call.body.decode()]
        digest = hmac.digest(key, ".".join(parts).encode(), "sha256")
        expected = f"v1,{base64.b64encode(digest).decode()}"
        return expected in call.headers.get("webhook-signature", "").split(" ")

    report = await check(RightEndpoint(verify=fits_at_any_time))
    assert report.is_right
    assert set(found(report, "warning")) == {"old timestamp"}


async def test_only_the_first_signature_is_looked_at(check: Check) -> None:
    def first_fits(call: Call) -> bool:
        first = call.headers.get("webhook-signature", "").split(" ")[0]
        return is_ours(Call(call.path, {**call.headers, "webhook-signature": first}, call.body))

    report = await check(RightEndpoint(verify=first_fits))
    assert set(found(report, "wrong")) == {"two signatures"}
    assert "one that fits is enough" in found(report, "wrong")["two signatures"]


async def test_body_is_verified_after_it_was_written_anew(check: Check) -> None:
    def fits_anew(call: Call) -> bool:
        anew = json.dumps(json.loads(call.body), separators=(",", ":")).encode()  # escapes ✓
        return is_ours(Call(call.path, call.headers, anew))

    report = await check(RightEndpoint(verify=fits_anew))
    assert set(found(report, "wrong")) == {"unknown fields"}
    assert "verify the raw body" in found(report, "wrong")["unknown fields"]


async def test_unknown_fields_are_refused(check: Check) -> None:
    right = RightEndpoint()

    async def refuse(call: Call) -> Reply:
        if "from_a_later_version" in call.json:
            return Reply(400, {"detail": "unknown field"})
        return await right(call)

    report = await check(refuse)
    assert set(found(report, "wrong")) == {"unknown fields"}
    assert "ignore unknown fields" in found(report, "wrong")["unknown fields"]


async def test_replay_is_refused(check: Check) -> None:
    right = RightEndpoint()

    async def refuse(call: Call) -> Reply:
        if call.headers["webhook-id"] in right.answers:
            return Reply(409, {"detail": "seen before"})
        return await right(call)

    report = await check(refuse)
    assert set(found(report, "wrong")) == {"replay"}
    assert "answered 409 ('seen before')" in found(report, "wrong")["replay"]
    assert "answer as the first time" in found(report, "wrong")["replay"]


async def test_accepted_step_never_completes(check: Check) -> None:
    report = await check(RightEndpoint(Reply(202, {})), timeout_s=LATE_S)
    assert set(found(report, "wrong")) == {"completion"}
    text = found(report, "wrong")["completion"]
    assert "did not complete within 1 s (no heartbeat came)" in text
    assert "links.complete" in text
    assert "--listen" in text


async def test_completed_step_is_accepted_again_and_never_completes(check: Check) -> None:
    late = LateEndpoint()

    async def accept(call: Call) -> Reply:
        reply = await late(call)
        return reply if reply.status == 401 else Reply(202, {})

    report = await check(accept, timeout_s=LATE_S)
    assert set(found(report, "wrong")) == {"replay after its end"}
    assert "Answer 200 with the stored answer" in found(report, "wrong")["replay after its end"]


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ({"total": 3}, "total: Extra inputs are not permitted"),
        ([3], "valid dictionary or instance"),
        ({"job_data": [3]}, "job_data: Input should be a valid dictionary"),
        ({"program_data": {}}, "program_data: Extra inputs are not permitted"),
        ({"job_data": {"text": "\0"}}, "NUL"),
    ],
)
async def test_completion_is_invalid(check: Check, completion: Any, why: str) -> None:
    report = await check(LateEndpoint(completion=completion))
    text = found(report, "wrong")["completion"]
    assert "links.complete was refused with 422" in text
    assert why in text
    assert 'right: POST {} or {"job_data": {…}}' in text


async def test_links_are_used_wrongly(check: Check) -> None:
    late = LateEndpoint()

    async def misuse(call: Call) -> Reply:
        async with httpx.AsyncClient() as client:
            await client.put(call.links["heartbeat"], json={})
            await client.post(call.links["complete"] + "d", json={})
            await client.patch(call.links["job_data"], content=b"page=1")
        return await late(call)

    report = await check(misuse)
    wrong = [each.text for each in report.findings if each.check == "links"]
    assert any("The link takes POST, and not PUT" in text for text in wrong)
    assert any("is no link (404): use the links of the call as they are" in text for text in wrong)
    assert any("Content-Type: application/json" in text for text in wrong)


async def test_refused_call_runs_the_job(check: Check) -> None:
    right = RightEndpoint()

    async def run_and_verify(call: Call) -> Reply:
        async with httpx.AsyncClient() as client:
            await client.post(call.links["complete"], json={})
        return await right(call)

    report = await check(run_and_verify)
    assert "ran the job all the same" in found(report, "wrong")["refused calls"]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (HTML, "is a page (HTML)"),
        (GZIP, "is compressed (gzip), which is refused: send it as it is"),
        (LONG, f"is longer than {LIMIT_BYTES} bytes"),
        (Reply(200, {"job_data": [3]}), "has a job_data that is an array, which fails the step"),
        (Reply(200, {"program_data": {}}), "has program_data, which fails the step"),
        (AGAIN_NOT_BOOL, "it must be true or false"),
        (Reply(200, {"error": "no"}), "has an error that is a text, and ignored"),
        (Reply(200, {"error": False}), "has an error that is true or false, and ignored"),
        (Reply(200, b"[]", JSON), "its body is a list, not a JSON object"),
        (Reply(200, b"null", JSON), "its body is null, not a JSON object"),
        (Reply(200, b"", JSON), "its body is empty"),
        (Reply(200, b'{"job_data": {"a": NaN}}', JSON), "its body: job_data.a is NaN"),
        (Reply(200, b'{"job_data": {"a": 1', JSON), "its body is not JSON"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
async def test_form_of_the_answer_is_wrong(check: Check, reply: Reply, words: str) -> None:
    report = await check(RightEndpoint(reply))
    assert set(found(report, "wrong")) == {"answer"}
    assert words in found(report, "wrong")["answer"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, b"OK", {"content-type": "text/plain"}), "is no JSON object ('OK')"),
        (Reply(200, b"[]"), "is no JSON object ('[]')"),
        (Reply(200, {"total": 3}), "has 'total', which nothing reads: only job_data is stored"),
        (Reply(500, {"error": {"message": "", "retryable": True}}), "has an error without a mess"),
    ],
    ids=["text", "array", "unknown", "silent"],
)
async def test_form_of_the_answer_could_be_better(check: Check, reply: Reply, words: str) -> None:
    report = await check(RightEndpoint(reply))
    assert report.is_right
    assert words in found(report, "warning")["answer"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(302, b"", {"location": "/login"}),
            "(answered 302, to '/login'): redirects are never",
        ),
        (Reply(401, {"detail": "no"}), "answered 401 ('no')): it must know this secret"),
        (Reply(404, b"no such page"), "answered 404 ('no such page'), which fails the step"),
        (Reply(410), "answered 410, which disables the job"),
        (Reply(503, {"title": "busy"}), "answered 503 ('busy'), which asks to be called again"),
    ],
    ids=["redirect", "unauthorized", "missing", "gone", "unavailable"],
)
async def test_right_call_is_not_taken(check: Check, reply: Reply, words: str) -> None:
    report = await check(RightEndpoint(reply))
    assert words in found(report, "wrong")["call"]
    assert [each.check for each in report.findings] == ["call", "not looked at"]


async def test_answer_comes_too_late(check: Check) -> None:
    async def sleep(_call: Call) -> Reply:
        await asyncio.sleep(60)
        return Reply()

    report = await check(sleep, timeout_s=0.5)
    assert "no whole answer came within 0.5 s" in found(report, "wrong")["call"]
    assert "answer 202 and complete later" in found(report, "wrong")["call"]


async def test_same_refusal_of_everything_tells_nothing_about_signatures(check: Check) -> None:
    failure = Reply(422, {"error": {"message": "no prices"}})
    report = await check(RightEndpoint(failure, verify=lambda _call: True))
    for name in ("wrong signature", "no signature", "changed body"):
        assert "nobody can tell whether signatures are verified" in found(report, "warning")[name]


async def test_secret_is_never_told(check: Check) -> None:
    report = await check(RightEndpoint(Reply(401, {"detail": f"I expected {SECRET}"})))
    assert "I expected" in report.findings[0].text
    assert SECRET.removeprefix("whsec_") not in report.findings[0].text
