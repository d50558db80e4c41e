"""Exporting: processes as people start them, and a collector that gets their spans over OTLP."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from asking import all_finished, row_of, submit
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from endpoint_server import Call, EndpointServer, Reply, endpoint
from processes import Deployment

QUICK_END_S = 20.0
"""The SDK alone would wait for a silent collector for 30 s."""


async def answer(_call: Call) -> Reply:
    """Take what comes."""
    return Reply(200, b"", {"content-type": "application/x-protobuf"})


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EndpointServer]:
    """Collect spans, of processes that are started from now on."""
    async with endpoint(answer) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def spans_of(server: EndpointServer) -> dict[str, tuple[str, Span]]:
    """Return {name of a span: (name of its service, the span)}."""
    found = {}
    for call in server.calls:
        assert call.path == "/job/v1/traces"
        for one in ExportTraceServiceRequest.FromString(call.body).resource_spans:
            facts = {each.key: each.value.string_value for each in one.resource.attributes}
            for scope in one.scope_spans:
                for span in scope.spans:
                    found[span.name] = (facts["service.name"], span)
    return found


async def test_service_and_worker_tell_a_collector_of_one_trace(
    deployment: Deployment, collector: EndpointServer
) -> None:
    deployment.settings["traces"] = True
    service, worker = await deployment.serve(), await deployment.work()
    run_id = await submit(service, "tick", program_data={"seconds": 0})
    await all_finished(deployment)
    row = await row_of(deployment, run_id)
    # they are told at the latest when a process ends
    assert [await worker.stop(), await service.stop()] == [0, 0]
    spans = spans_of(collector)
    (name, begin), (_, step) = spans["POST /programs"], spans["step tick"]
    assert name == "program-executor"
    assert step.trace_id == begin.trace_id
    assert step.parent_span_id == begin.span_id
    stored = str(row["traceparent"])
    assert stored.startswith(f"00-{begin.trace_id.hex()}-{begin.span_id.hex()}-")


async def test_names_of_the_environment_count(
    deployment: Deployment, collector: EndpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "billing-programs")
    deployment.settings["traces"] = True
    service = await deployment.serve()
    await service.client.get("/jobs")
    assert await service.stop() == 0
    assert spans_of(collector)["GET /jobs"][0] == "billing-programs"


async def test_collector_that_does_not_answer_holds_up_nothing(
    deployment: Deployment, collector: EndpointServer
) -> None:
    async def never(_call: Call) -> Reply:
        await asyncio.sleep(3_600)
        raise AssertionError

    collector.answer = never
    deployment.settings["traces"] = True
    service, worker = await deployment.serve(), await deployment.work()
    await submit(service, "tick", program_data={"seconds": 0})
    await all_finished(deployment)
    for process in (worker, service):
        process.signal(signal.SIGTERM)
        assert await process.ended(within_s=QUICK_END_S) == 0
    assert collector.cut_off > 0
