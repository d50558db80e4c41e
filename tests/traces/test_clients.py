"""Clients continue the trace that their callers are in."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from program_executor import Client, submit_in, submit_in_async
from servers import on_servers, on_sqlite
from serving import Service, on_a_socket, register
from told import Told, is_beneath, traceparent_of, tracer


@on_sqlite
async def test_client_for_threads_continues_the_trace_of_its_caller(
    service: Service, told: Told
) -> None:
    def shop(url: str) -> None:
        with tracer.start_as_current_span("checkout"), Client(url) as client:
            client.submit(["charge"])

    async with on_a_socket(service) as url:
        await service.client.put("/jobs/charge", json={"url": "https://bank.example/charge"})
        await asyncio.to_thread(shop, url)
    assert is_beneath(await told.one("POST /programs"), await told.one("checkout"))


@on_sqlite
async def test_probes_scrapes_and_pages_are_not_told(service: Service, told: Told) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/ui/programs", "/ui/static/no.css", "/jobs"):
        await service.client.get(path)
    (span,) = told.exporter.get_finished_spans()
    assert span.name == "GET /jobs"


@on_servers
async def test_program_of_a_transaction_continues_the_trace_of_its_caller(
    service: Service, told: Told
) -> None:
    await register(service.database, "charge")
    engine = service.database.beside(idle_timeout_s=60).engine
    table_name = str(service.database.tables.programs.name)

    def shop(session: Session) -> str:
        return submit_in(session, ["charge"], table_name=table_name)

    async with AsyncSession(engine) as session:
        with tracer.start_as_current_span("order"):
            first = await submit_in_async(session, ["charge"], table_name=table_name)
            second = await session.run_sync(shop)
        await session.commit()
    await engine.dispose()
    expected = traceparent_of(await told.one("order"))
    for run_id in (first, second):
        assert (await service.get(run_id))["traceparent"] == expected
