"""The life of a callback job: registered, called, completed at once or later, retried, stopped."""

import asyncio
import base64
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from calling import ALLOW, NOTIFY_SECRET, hire, put, with_links
from contracts import message_misfits
from endpoint_server import Answer, Call, Reply, endpoint
from patience import eventually
from program_executor import JobContext, job
from program_executor.commands.documents import openapi_document
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_workers import engine
from serving import Json, Service, json_of, problem_of


def always(reply: Reply) -> Answer:
    """Answer always the same."""

    async def answer(_call: Call) -> Reply:
        return reply

    return answer


async def test_program_mixes_functions_and_endpoints(service: Service) -> None:
    @job
    async def reserve(ctx: JobContext) -> Json:
        del ctx
        return {"seat": 12}

    @job
    async def ship(ctx: JobContext) -> Json:
        return {"saw": ctx.results["charge"]}

    async def charge(call: Call) -> Reply:
        assert call.json["program_data"] == {"cents": 5}
        return Reply(200, {"job_data": {"receipt": 7}})

    async with endpoint(charge) as server:
        await put(service, "charge", server.url)
        await hire(service, reserve, ship)
        run_id = (await service.submit("reserve", "charge", "ship", program_data={"cents": 5}))[
            "run_id"
        ]
        program = await service.ended(run_id)
    assert program["status"] == "finished", program
    assert program["job_data"] == {
        "reserve": {"seat": 12},
        "charge": {"receipt": 7},
        "ship": {"saw": {"receipt": 7}},
    }


async def test_call_is_signed_and_says_all(service: Service) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with endpoint(always(Reply(204))) as server:
        secret = (await put(service, "charge", server.url))["secret"]
        await hire(service)
        answer = await service.client.post(
            "/programs",
            json={"jobs": ["charge", "charge"], "job_data": {"charge": {"n": 1}}},
            headers={"traceparent": trace},
        )
        run_id = json_of(answer)["run_id"]
        await service.ended(run_id)
        first, second = server.calls
    body = first.json
    assert message_misfits(openapi_document(), "job.execute", body, first.headers) == []
    assert (body["run_id"], body["job"], body["step"], body["attempt"]) == (run_id, "charge", 0, 1)
    assert (body["jobs"], body["job_data"]) == (["charge", "charge"], {"n": 1})
    assert set(body["links"]) == {"job_data", "heartbeat", "complete", "fail"}
    assert first.headers["webhook-id"] == f"{run_id}-0"
    assert second.headers["webhook-id"] == f"{run_id}-1"
    assert first.headers["idempotency-key"] == f"{run_id}-0"
    assert first.headers["x-program-attempt"] == "1"
    assert first.headers["x-program-deadline"] == body["deadline"]
    assert first.headers["traceparent"] == trace
    assert first.headers["content-type"] == "application/json"
    assert Webhook(secret).verify(first.body, first.headers) == body
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(first.body + b" ", first.headers)


async def test_failure_that_may_pass_is_tried_again_with_the_same_key(service: Service) -> None:
    replies = iter([Reply(503, b"busy", {"retry-after": "0"}), Reply(200)])

    async def answer(_call: Call) -> Reply:
        return next(replies)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url)
        await hire(service)
        run_id = (await service.submit("charge"))["run_id"]
        assert (await service.ended(run_id))["status"] == "finished"
        first, second = server.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [call.json["attempt"] for call in server.calls] == [1, 2]


async def test_tries_are_limited_by_the_policy_of_the_job(service: Service) -> None:
    async with endpoint(always(Reply(500, b"no"))) as server:
        await put(service, "charge", server.url, retry={"max_attempts": 2, "initial_s": 0})
        await hire(service)
        program = await service.ended((await service.submit("charge"))["run_id"])
    assert program["status"] == "errored"
    assert program["error_message"] == "the endpoint answered 500: no"
    assert len(server.calls) == 2


async def test_accepted_step_waits_and_is_completed_later(service: Service) -> None:
    """Invariant 14."""
    async with endpoint(always(Reply(202))) as server:
        await put(service, "charge", server.url)
        shift = await hire(service)
        run_id = (await service.submit("charge"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        assert (await service.explain(run_id))["reason"] == "awaiting_completion"
        (call,) = server.calls
        await shift.stop()  # nobody needs to be there
        merged = await with_links(service, call).patch("job_data", {"page": 3})
        assert json_of(merged) == {"job_data": {"page": 3}}
        beat = await with_links(service, call).post("heartbeat")
        assert json_of(beat)["deadline"] > call.json["deadline"]
        done = await with_links(service, call).post("complete", {"job_data": {"rows": 9}})
        assert json_of(done) == {"run_id": run_id, "status": "finished"}
        program = await service.ended(run_id)
        assert program["job_data"] == {"charge": {"page": 3, "rows": 9}}
        again = await with_links(service, call).post("complete")
        problem_of(again, 409, "stale_step")


async def test_step_that_was_completed_before_its_202_counts_once(service: Service) -> None:
    """Invariant 14."""

    async def complete_first(call: Call) -> Reply:
        done = await with_links(service, call).post("complete", {"job_data": {"n": 1}})
        assert done.status_code == 200
        return Reply(202)

    async with endpoint(complete_first) as server:
        await put(service, "charge", server.url)
        await hire(service)
        program = await service.ended((await service.submit("charge", "charge"))["run_id"])
    assert program["status"] == "finished"
    assert len(server.calls) == 2


async def test_deadline_that_passes_counts_as_a_failed_try(service: Service) -> None:
    async with endpoint(always(Reply(202))) as server:
        policy = {"max_attempts": 2, "initial_s": 0}
        await put(service, "charge", server.url, timeout_s=1.0, retry=policy)
        await hire(service)
        program = await service.ended((await service.submit("charge"))["run_id"])
    assert program["status"] == "errored"
    assert program["error_message"].startswith("timeout")
    assert [call.json["attempt"] for call in server.calls] == [1, 2]


@pytest.mark.parametrize("is_retryable", [True, False])
async def test_accepted_step_may_fail(service: Service, *, is_retryable: bool) -> None:
    replies = iter([Reply(202), Reply(200)])

    async def answer(_call: Call) -> Reply:
        return next(replies)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url, retry={"initial_s": 0})
        await hire(service)
        run_id = (await service.submit("charge"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        error = {"message": "no money", "retryable": is_retryable, "code": "broke"}
        await with_links(service, server.calls[0]).post("fail", {"error": error})
        program = await service.ended(run_id)
    assert program["status"] == ("finished" if is_retryable else "errored")
    assert program["error_message"] == "no money"


@pytest.mark.parametrize("token", ["", "x", "a.b", "e30.AAAA", "%00", "a" * 1_000])
async def test_bad_token_is_404(service: Service, token: str) -> None:
    answer = await service.client.post(f"/callbacks/{token or '-'}/complete")
    problem_of(answer, 404, "bad_token")


async def test_forged_token_is_404(service: Service) -> None:
    async with endpoint(always(Reply(202))) as server:
        await put(service, "charge", server.url)
        await hire(service)
        run_id = (await service.submit("charge", "charge"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
    path = server.calls[0].links["complete"].split("/callbacks/")[1]
    payload, _, tag = path.removesuffix("/complete").partition(".")
    padded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    forged = base64.urlsafe_b64encode(padded.replace(b",0,0,1,", b",1,0,1,")).decode()
    assert forged.rstrip("=") != payload
    answer = await service.client.post(f"/callbacks/{forged.rstrip('=')}.{tag}/complete")
    problem_of(answer, 404, "bad_token")


async def test_cancelling_closes_the_call_and_tells_the_endpoint(service: Service) -> None:
    told: list[Call] = []

    async def hang(call: Call) -> Reply:
        if call.json["type"] == "job.cancel":
            told.append(call)
            return Reply(204)
        await asyncio.Event().wait()
        raise AssertionError

    async with endpoint(hang) as server:
        registered = await put(service, "charge", server.url, cancel_url=server.url)
        await hire(service)
        run_id = await service.running("charge")
        await service.cancel(run_id)

        async def is_cut_off_and_told() -> bool:
            return server.cut_off == 1 and len(told) == 1

        await eventually(is_cut_off_and_told)
    message = {"type": "job.cancel", "run_id": run_id, "job": "charge", "step": 0}
    assert Webhook(registered["secret"]).verify(told[0].body, told[0].headers) == message


async def test_endpoint_that_is_gone_is_called_no_more_until_it_is_put_again(
    service: Service,
) -> None:
    replies = iter([Reply(410, b"moved out"), Reply(200)])

    async def answer(_call: Call) -> Reply:
        return next(replies)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url)
        await hire(service)
        program = await service.ended((await service.submit("charge"))["run_id"])
        assert (program["status"], program["error_message"]) == (
            "errored",
            "the endpoint answered 410: moved out",
        )

        async def nobody_knows_it() -> bool:
            workers = json_of(await service.client.get("/workers"))["workers"]
            listed = [worker["jobs"] for worker in workers]
            return listed == [[]]

        await eventually(nobody_knows_it)
        waiting = (await service.submit("charge"))["run_id"]
        explained = await service.explain(waiting)
        assert explained["reason"] == "endpoint_disabled", explained
        await put(service, "charge", server.url)
        assert (await service.ended(waiting))["status"] == "finished"


async def test_endpoint_that_is_gone_while_the_database_is_away_ends_its_program_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_away(*_args: object, **_names: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(engine, "disable_endpoint", be_away)
    async with endpoint(always(Reply(410, b"moved out"))) as server:
        await put(service, "charge", server.url)
        await hire(service)
        for _ in range(2):
            program = await service.ended((await service.submit("charge"))["run_id"])
            assert program["error_message"] == "the endpoint answered 410: moved out"


async def test_limit_of_calls_at_a_time_is_kept(service: Service) -> None:
    running, most = 0, 0

    async def count(_call: Call) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return Reply(204)

    async with endpoint(count) as server:
        await put(service, "charge", server.url, max_concurrency=2)
        await hire(service)
        ids = [(await service.submit("charge"))["run_id"] for _ in range(6)]
        for run_id in ids:
            assert (await service.ended(run_id))["status"] == "finished"
    assert most <= 2
    assert len(server.calls) == 6


async def test_open_breaker_spends_no_attempts_and_is_shown(service: Service) -> None:
    is_well = False

    async def answer(_call: Call) -> Reply:
        return Reply(200 if is_well else 500)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url, retry={"initial_s": 0, "max_attempts": 8})
        await hire(service, worker_beat_s=0.2)
        ids = [(await service.submit("charge"))["run_id"] for _ in range(5)]

        async def is_shown() -> bool:
            (worker,) = json_of(await service.client.get("/workers"))["workers"]
            return bool(worker["endpoints"]["job_breakers"])

        await eventually(is_shown)

        async def is_explained() -> bool:
            reasons = [(await service.explain(run_id))["reason"] for run_id in ids]
            return "breaker_open" in reasons

        await eventually(is_explained)
        is_well = True
        for run_id in ids:
            program = await service.ended(run_id)
            assert program["status"] == "finished", program


async def test_forbidden_address_fails_for_good_and_says_which_rule(service: Service) -> None:
    async with endpoint(always(Reply(200))) as server:
        await put(service, "charge", server.url)
        await service.crew.hire()  # a worker that allows nothing
        program = await service.ended((await service.submit("charge"))["run_id"])
    assert program["status"] == "errored"
    assert "CALLBACK_ALLOW" in program["error_message"]
    assert server.calls == []


@pytest.mark.parametrize("end", ["finished", "errored", "cancelled"])
async def test_end_is_told_to_the_address_that_was_named(service: Service, end: str) -> None:
    replies = iter([Reply(500), Reply(204)])  # told again, for it was not taken the first time

    async def hear(_call: Call) -> Reply:
        return next(replies)

    @job
    async def reserve(ctx: JobContext) -> None:
        if end == "errored":
            raise ValueError(ctx.run_id)

    async with endpoint(hear) as server:
        start: dict[str, Any] = {"start_at": "2999-01-01T00:00:00Z"} if end == "cancelled" else {}
        await service.crew.hire(reserve, callback_allow=ALLOW)
        run_id = (await service.submit("reserve", notify=server.url, **start))["run_id"]
        if end == "cancelled":
            await service.cancel(run_id)

        async def is_told_twice() -> bool:
            return len(server.calls) == 2

        await eventually(is_told_twice)
        first, second = server.calls
    message = Webhook(NOTIFY_SECRET).verify(second.body, second.headers)
    assert message_misfits(openapi_document(), "program.ended", message, second.headers) == []
    assert (message["program"]["run_id"], message["program"]["status"]) == (run_id, end)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == f"{run_id}-ended-0"
