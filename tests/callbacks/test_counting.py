"""Counting: what Prometheus is told of calls, of those that were refused, and of breakers."""

from typing import Any

import pytest

from calling import hire, put, with_links
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.telemetry import Metrics
from program_service.webhooks.breaker import FAILURES_TO_OPEN
from serving import Service, serving

ONCE = {"initial_s": 0, "max_attempts": 1}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample's value; None where there is none."""
    return metrics.registry.get_sample_value(f"program_executor_{name}", labels)


async def test_calls_are_counted_by_job_and_status(service: Service) -> None:
    replies = iter([Reply(503), Reply(200), Reply(404)])

    async def answer(_call: Call) -> Reply:
        return next(replies)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url, retry={"initial_s": 0})
        shift = await hire(service)
        for _ in range(2):
            await service.ended((await service.submit("charge"))["run_id"])
    for code in ("503", "200", "404"):
        assert value(shift.metrics, "callback_requests_total", job="charge", code=code) == 1


@pytest.mark.parametrize(("timeout_s", "code"), [(0.2, "timeout"), (30, "no_answer")])
async def test_calls_without_an_answer_are_counted_by_the_reason(
    service: Service, timeout_s: float, code: str
) -> None:
    async def answer(_call: Call) -> Reply:
        return Reply(200, b"ab", {"content-length": "3"})  # the third byte never comes

    async with endpoint(answer) as server:
        url = server.url if code == "timeout" else "http://127.0.0.1:9/"
        await put(service, "charge", url, timeout_s=timeout_s, retry=ONCE)
        shift = await hire(service)
        await service.ended((await service.submit("charge"))["run_id"])
    assert value(shift.metrics, "callback_requests_total", job="charge", code=code) == 1


async def test_refused_calls_are_counted_by_the_rule_and_are_no_requests(service: Service) -> None:
    await put(service, "charge", "http://127.0.0.1:9/")
    shift = await service.crew.hire()  # a worker that allows nothing
    await service.ended((await service.submit("charge"))["run_id"])
    assert value(shift.metrics, "callback_blocked_total", reason="public") == 1
    assert value(shift.metrics, "callback_requests_total", job="charge", code="200") is None


async def test_refused_notices_are_counted_by_the_service(database: Database) -> None:
    notify: dict[str, Any] = {"notify_secret": "whsec_" + "bm90aWZ5" * 4}
    async with serving(database, jobs=["charge"], callback_allow="10.0.0.0/8", **notify) as service:
        run_id = (await service.submit("charge", notify="http://10.1.1.1/"))["run_id"]
    async with serving(database, **notify) as service:  # started anew, with other settings
        await service.cancel(run_id)

        async def is_counted() -> bool:
            return value(service.metrics, "callback_blocked_total", reason="public") == 1

        await eventually(is_counted)


async def test_open_breaker_is_shown_until_its_job_is_well(service: Service) -> None:
    is_well = False

    async def answer(_call: Call) -> Reply:
        return Reply(200 if is_well else 500)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url, retry={"initial_s": 0, "max_attempts": 20})
        shift = await hire(service, worker_beat_s=0.2)
        labels = {"host": f"127.0.0.1:{server.port}", "job": "charge"}
        run_id = (await service.submit("charge"))["run_id"]

        async def is_open() -> bool:
            return value(shift.metrics, "breaker_open", **labels) == 1

        await eventually(is_open)
        assert len(server.calls) >= FAILURES_TO_OPEN
        is_well = True
        await service.ended(run_id)

        async def is_shown_no_more() -> bool:
            return value(shift.metrics, "breaker_open", **labels) is None

        await eventually(is_shown_no_more)


async def test_steps_that_endpoints_settle_later_are_counted_as_they_end(service: Service) -> None:
    """By the service, which they tell: a retry that was the last is a failure."""

    async def accept(_call: Call) -> Reply:
        return Reply(202)

    async with endpoint(accept) as server:
        await put(service, "charge", server.url, retry={"initial_s": 0, "max_attempts": 2})
        await hire(service)
        run_id = (await service.submit("charge"))["run_id"]
        for number in (1, 2):

            async def is_called(number: int = number) -> bool:
                return len(server.calls) == number and await service.has_status(run_id, "waiting")

            await eventually(is_called)
            body = {"error": {"message": "no bank", "retryable": True}}
            answer = await with_links(service, server.calls[-1]).post("fail", body)
            assert answer.status_code == 200, answer.text
        await service.ended(run_id)
    attempt = {"job": "charge", "kind": "callback"}
    metrics = service.metrics
    assert value(metrics, "step_attempts_total", outcome="retry", **attempt) == 1
    assert value(metrics, "step_attempts_total", outcome="failed", **attempt) == 1
    assert value(metrics, "step_retries_total", job="charge", reason="error") == 1
    assert value(metrics, "programs_finished_total", outcome="errored") == 1
    assert value(metrics, "program_duration_seconds_count", outcome="errored") == 1
