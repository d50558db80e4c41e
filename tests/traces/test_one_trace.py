"""One trace tells the life of a program, from the client to an endpoint and back."""

import asyncio
from typing import TYPE_CHECKING

import httpx
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind

from calling import hire, put
from endpoint_server import Call, Reply, endpoint
from program_executor import AsyncClient, JobContext, calls, job
from serving import Service, on_a_socket
from told import Told, is_beneath, traceparent_of, tracer

if TYPE_CHECKING:
    from program_executor.shapes import ProgramOptions

SUBMIT = "POST /programs"
CALL = "POST"
COMPLETE = "POST /callbacks/{token}/complete"


@job
async def mail(ctx: JobContext) -> None:
    """Make a span of its own."""
    del ctx
    with tracer.start_as_current_span("render"):
        await asyncio.sleep(0)


async def test_one_trace_leads_from_the_client_to_an_endpoint_and_back(
    service: Service, told: Told
) -> None:
    """The endpoint continues the trace, completes later, and is told of the end."""
    completing: set[asyncio.Task[None]] = set()

    async def complete_later(call: Call) -> None:
        with tracer.start_as_current_span("charge card", context=extract(call.headers)):
            at = trace.get_current_span().get_span_context()
            headers = {"traceparent": f"00-{at.trace_id:032x}-{at.span_id:016x}-01"}
            async with httpx.AsyncClient() as http:
                answer = await http.post(call.links["complete"], json={}, headers=headers)
            assert answer.status_code == 200, answer.text

    async def answer(call: Call) -> Reply:
        if call.json["type"] == "job.execute":
            completing.add(asyncio.create_task(complete_later(call)))
            return Reply(202)
        return Reply(204)

    async with (
        endpoint(answer) as server,
        on_a_socket(service) as url,
        AsyncClient(url) as client,
    ):
        await put(service, "charge", server.url)
        await hire(service, mail, traces=True, service_url=url)
        told.exporter.clear()
        with tracer.start_as_current_span("checkout", kind=SpanKind.CLIENT):
            notified: ProgramOptions = {"notify": f"{server.url}/ended"}
            submitted = await client.send(calls.submit(["charge", "mail"], notified, "order-7"))
        run_id = submitted["run_id"]
        await service.ended(run_id)
        call, notice = await told.some(CALL, 2)
        await asyncio.gather(*completing)
    checkout, submit = await told.one("checkout"), await told.one(SUBMIT)
    charge, mailing = await told.one("step charge"), await told.one("step mail")
    working, complete = await told.one("charge card"), await told.one(COMPLETE)
    assert is_beneath(submit, checkout)
    assert submitted["traceparent"] == traceparent_of(submit)
    assert is_beneath(charge, submit)
    assert is_beneath(call, charge)
    assert server.calls[0].headers["traceparent"] == traceparent_of(call)
    assert is_beneath(working, call)
    assert is_beneath(complete, working)
    assert is_beneath(mailing, submit)
    assert is_beneath(await told.one("render"), mailing)
    assert is_beneath(notice, submit)
    assert server.calls[1].headers["traceparent"] == traceparent_of(notice)
    kinds = [span.kind.name for span in (submit, charge, call, complete, notice)]
    assert kinds == ["SERVER", "CONSUMER", "CLIENT", "SERVER", "CLIENT"]
