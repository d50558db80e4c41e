"""Calls to endpoints and back belong to the traces of their programs, whatever others send."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from calling import hire, put, with_links
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from servers import on_sqlite
from serving import Json, Service
from told import Told, context_of, is_beneath, traceparent_of

COMPLETE = "POST /callbacks/{token}/complete"
ANOTHER_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

pytestmark = on_sqlite


async def accept(_call: Call) -> Reply:
    """Complete later."""
    return Reply(202)


def facts_of(span: ReadableSpan) -> Json:
    """Return what a span says."""
    return dict(span.attributes or {})


async def waiting(service: Service, url: str) -> str:
    """Submit a program of an endpoint that completes later, and wait until it waits."""
    await put(service, "charge", url)
    await hire(service, traces=True)
    run_id = str((await service.submit("charge"))["run_id"])
    await eventually(lambda: service.has_status(run_id, "waiting"))
    return run_id


async def test_completion_that_knows_no_trace_is_told_in_that_of_its_program(
    service: Service, told: Told
) -> None:
    async with endpoint(accept) as server:
        run_id = await waiting(service, server.url)
        links = with_links(service, server.calls[0])
        await links.post("heartbeat")
        await links.patch("job_data", {"page": 3})
        await links.post("complete")
    submit = await told.one("POST /programs")
    for name in (
        "POST /callbacks/{token}/heartbeat",
        "PATCH /callbacks/{token}/job-data",
        COMPLETE,
    ):
        span = await told.one(name)
        assert is_beneath(span, submit)
        assert span.kind is SpanKind.SERVER
        assert facts_of(span) == {
            "http.request.method": name.split(" ")[0],
            "http.route": name.split(" ")[1],
            "http.response.status_code": 200,
            "program_executor.run_id": run_id,
            "program_executor.step": 0,
            "program_executor.attempt": 1,
        }


async def test_completion_from_another_trace_is_told_in_that_of_its_program_and_linked(
    service: Service, told: Told
) -> None:
    async with endpoint(accept) as server:
        await waiting(service, server.url)
        await complete(service, server.calls[0], ANOTHER_TRACE)
    span = await told.one(COMPLETE)
    assert is_beneath(span, await told.one("POST /programs"))
    (link,) = span.links
    assert f"00-{link.context.trace_id:032x}-{link.context.span_id:016x}-01" == ANOTHER_TRACE


async def test_refused_completion_is_told_and_a_strangers_is_not(
    service: Service, told: Told
) -> None:
    async with endpoint(accept) as server:
        await waiting(service, server.url)
        links = with_links(service, server.calls[0])
        await links.post("complete")
        assert (await links.post("complete")).status_code == 409
    stranger = await service.client.post("/callbacks/nonsense/complete", json={})
    assert stranger.status_code == 404
    _, refused = await told.some(COMPLETE, 2)
    assert facts_of(refused)["http.response.status_code"] == 409
    assert refused.status.status_code is StatusCode.UNSET


async def test_no_span_holds_a_token(service: Service, told: Told) -> None:
    async with endpoint(accept) as server:
        await waiting(service, server.url)
        await with_links(service, server.calls[0]).post("complete")
        token = server.calls[0].links["complete"].split("/")[-2]
    await told.one(COMPLETE)
    texts = [span.to_json() for span in told.exporter.get_finished_spans()]
    assert len(texts) > 3
    assert [text for text in texts if token in text] == []


async def test_call_that_fails_is_told_with_its_reason(service: Service, told: Told) -> None:
    replies = iter([Reply(503, b"busy", {"retry-after": "0"}), Reply(200)])

    async def answer(_call: Call) -> Reply:
        return next(replies)

    async with endpoint(answer) as server:
        await put(service, "charge", server.url)
        await hire(service, traces=True)
        await service.ended((await service.submit("charge"))["run_id"])
        first, second = await told.some("POST", 2)
        assert [call.headers["traceparent"] for call in server.calls] == [
            traceparent_of(first),
            traceparent_of(second),
        ]
    assert facts_of(first)["http.response.status_code"] == 503
    assert facts_of(first)["error.type"] == "503"
    assert first.status.status_code is StatusCode.ERROR
    assert facts_of(second)["server.address"] == "127.0.0.1"
    assert second.status.status_code is StatusCode.UNSET


async def test_call_without_an_answer_is_told_as_an_error(service: Service, told: Told) -> None:
    async with endpoint(accept) as server:
        url = server.url
    await put(service, "charge", url, retry={"max_attempts": 1})
    await hire(service, traces=True)
    await service.ended((await service.submit("charge"))["run_id"])
    call = await told.one("POST")
    assert facts_of(call)["error.type"] == "NoConnection"
    assert call.status.status_code is StatusCode.ERROR


async def test_cancel_is_told_to_the_endpoint_in_the_trace_of_the_program(
    service: Service, told: Told
) -> None:
    """Whoever cancels does so in a trace of their own, which is linked."""
    async with endpoint(accept) as server:
        await put(service, "charge", server.url, cancel_url=f"{server.url}/cancel")
        await hire(service, traces=True)
        run_id = str((await service.submit("charge"))["run_id"])
        await eventually(lambda: service.has_status(run_id, "waiting"))
        await service.cancel(run_id)
        _, notice = await told.some("POST", 2)
    assert is_beneath(notice, await told.one("POST /programs"))
    cancel = await told.one("POST /programs/{run_id}/cancel")
    (link,) = notice.links
    assert link.context.span_id == context_of(cancel).span_id


async def complete(service: Service, call: Call, traceparent: str) -> None:
    """Complete a step from some trace."""
    path = "/callbacks/" + call.links["complete"].split("/callbacks/")[1]
    headers = {"traceparent": traceparent}
    answer = await service.client.post(path, json={}, headers=headers)
    assert answer.status_code == 200, answer.text
