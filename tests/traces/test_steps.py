"""Each try of a step is a span, and what its job does stands beneath it."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from builders import a_program
from program_executor import (
    IgnorableError,
    JobContext,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
)
from program_service.bookkeeping.ledger.submitting import submit
from program_workers.pages import pages
from servers import on_sqlite
from serving import URL, Json, Service, json_of
from told import Told, context_of, is_beneath, tracer

UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

pytestmark = on_sqlite


def outcome_of(span: ReadableSpan) -> Any:
    """Return what became of a try."""
    return (span.attributes or {})["program_executor.outcome"]


@job(retry=Retry(max_attempts=2, initial_s=0))
async def charge(ctx: JobContext) -> None:
    """Fail once."""
    if ctx.attempt == 1:
        message = "the bank is closed"
        raise RetryableError(message)


async def test_tries_of_a_step_are_siblings_in_one_trace(service: Service, told: Told) -> None:
    shift = await service.crew.hire(charge, traces=True)
    run_id = (await service.submit("charge"))["run_id"]
    assert (await service.ended(run_id))["status"] == "finished"
    first, second = await told.some("step charge", 2)
    begin = await told.one("POST /programs")
    assert is_beneath(first, begin)
    assert is_beneath(second, begin)
    assert dict(second.attributes or {}) == {
        "program_executor.run_id": run_id,
        "program_executor.job": "charge",
        "program_executor.step": 0,
        "program_executor.attempt": 2,
        "program_executor.worker": shift.worker.name,
        "program_executor.outcome": "done",
    }
    assert second.status.status_code is StatusCode.UNSET
    assert outcome_of(first) == "retry"


async def test_failed_try_tells_of_its_exception(service: Service, told: Told) -> None:
    await service.crew.hire(charge, traces=True)
    await service.ended((await service.submit("charge"))["run_id"])
    first, _ = await told.some("step charge", 2)
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "the bank is closed"
    assert (first.attributes or {})["error.type"] == "RetryableError"
    (event,) = first.events
    assert event.name == "exception"
    facts = event.attributes or {}
    assert facts["exception.type"] == "RetryableError"
    assert facts["exception.message"] == "the bank is closed"
    assert "raise RetryableError(message)" in str(facts["exception.stacktrace"])


async def test_spans_of_plain_jobs_stand_beneath_their_step(service: Service, told: Told) -> None:
    """They run in threads."""

    @job
    def render(ctx: ThreadJobContext) -> None:
        with tracer.start_as_current_span("draw"):
            ctx.start_program(["print_out"])

    @job
    def print_out(_ctx: ThreadJobContext) -> None:
        """Do nothing."""

    await service.crew.hire(render, print_out, traces=True)
    await service.submit("render")
    render_step, draw = await told.one("step render"), await told.one("draw")
    assert is_beneath(draw, render_step)
    # what a job starts goes on where it was started
    assert is_beneath(await told.one("step print_out"), draw)


async def test_spans_of_programs_that_were_submitted_together_share_a_trace(
    service: Service, told: Told
) -> None:
    await service.crew.hire(charge, traces=True)
    body = {"programs": [{"jobs": ["charge"]}, {"jobs": ["charge"]}]}
    await service.client.post("/programs/batch", json=body)
    steps = await told.some("step charge", 4)
    begin = await told.one("POST /programs/batch")
    assert all(is_beneath(step, begin) for step in steps)


async def test_each_try_of_a_program_without_a_trace_begins_one(
    service: Service, told: Told
) -> None:
    """It was submitted while traces were off."""
    await service.crew.hire(charge, traces=True)
    await service.database.transact(submit, [a_program(jobs=["charge"])])
    first, second = await told.some("step charge", 2)
    assert first.parent is None
    assert second.parent is None
    assert context_of(first).trace_id != context_of(second).trace_id


async def test_trace_that_its_client_does_not_sample_is_handed_on_and_not_told(
    service: Service, told: Told
) -> None:
    stored: list[str | None] = []

    @job
    async def look(ctx: JobContext) -> None:
        child = await ctx.start_program(["look"], start_at=datetime(2099, 1, 1, tzinfo=UTC))
        stored.append((await service.get(child))["traceparent"])

    await service.crew.hire(look, traces=True)
    headers = {"traceparent": UNSAMPLED}
    answer = await service.client.post("/programs", json={"jobs": ["look"]}, headers=headers)
    program = await service.ended(json_of(answer)["run_id"])
    assert program["status"] == "finished", program
    for traceparent in (program["traceparent"], *stored):
        version, trace_id, span_id, flags = str(traceparent).split("-")
        assert (version, trace_id, flags) == ("00", UNSAMPLED[3:35], "00")
        assert span_id != UNSAMPLED[36:52]
    assert told.all("step look") == []


async def test_ignorable_error_and_stopped_job_are_told_as_what_they_are(
    service: Service, told: Told
) -> None:
    @job
    async def ignore(_ctx: JobContext) -> None:
        message = "not today"
        raise IgnorableError(message)

    @job
    async def hang(_ctx: JobContext) -> None:
        await asyncio.Event().wait()

    await service.crew.hire(ignore, hang, traces=True)
    await service.ended((await service.submit("ignore"))["run_id"])
    assert outcome_of(await told.one("step ignore")) == "ignored"
    await service.cancel(await service.running("hang"))
    assert outcome_of(await told.one("step hang")) == "cancelled"


async def test_duration_of_a_step_leads_to_its_trace(service: Service, told: Told) -> None:
    shift = await service.crew.hire(charge, traces=True)
    await service.ended((await service.submit("charge"))["run_id"])
    _, second = await told.some("step charge", 2)
    app = pages(lambda: True, shift.worker.supervisor, shift.metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http:
        plain = await http.get("/metrics")
        answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert plain.headers["content-type"].startswith("text/plain")
    found = {
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "program_executor_step_duration_seconds_bucket" and sample.exemplar
    }
    assert found == {f"{context_of(second).trace_id:032x}"}


async def test_log_lines_name_their_trace(
    service: Service, told: Told, printed: Callable[[], list[Json]]
) -> None:
    @job(retry=Retry(max_attempts=1))
    async def speak(_ctx: JobContext) -> None:
        logging.getLogger("shop").warning("no stamps left")
        message = "nothing was sent"
        raise LookupError(message)

    await service.crew.hire(speak, traces=True)
    await service.ended((await service.submit("speak"))["run_id"])
    at = context_of(await told.one("step speak"))
    names = {"trace_id": f"{at.trace_id:032x}", "span_id": f"{at.span_id:016x}"}
    lines = {line["event"]: line for line in printed()}
    assert lines["no stamps left"].items() >= names.items()
    assert lines["Consumer error finish"].items() >= names.items()
    assert "trace_id" not in lines["worker.started"]
