"""The metrics as real processes show them, in both formats."""

from collections.abc import Callable

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from asking import all_finished, submit
from patience import eventually
from private_postgres import free_ports_in_a_row
from processes import Deployment
from program_service.telemetry import Metrics

Promtool = Callable[..., str]

ACCEPT = {"accept": "application/openmetrics-text; version=1.0.0, text/plain; q=0.5"}


async def test_promtool_has_no_complaint_about_any_metric(
    deployment: Deployment, promtool: Promtool
) -> None:
    service, worker = await deployment.serve(), await deployment.work()
    await submit(service, "tick", program_data={"seconds": 0})
    await all_finished(deployment)
    names = {family.name for family in Metrics().registry.collect()}
    for process in (service, worker):
        text = (await process.client.get("/metrics")).text
        assert {family.name for family in plain(text)} == names
        assert promtool("check", "metrics", given=text) == ""


async def test_worker_speaks_openmetrics_to_those_who_accept_it(deployment: Deployment) -> None:
    await deployment.serve()
    worker = await deployment.work()
    answer = await worker.client.get("/metrics", headers=ACCEPT)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in Metrics().registry.collect()}
    assert {family.name for family in openmetrics(answer.text)} == names


async def test_each_child_of_a_fleet_has_a_port_of_its_own_for_metrics(
    deployment: Deployment,
) -> None:
    service = await deployment.serve()
    fleet = deployment.start_work(
        modules=["jobs_file", "--processes", "2"], concurrency=2, port=free_ports_in_a_row(2)
    )
    await fleet.ready()
    async with httpx.AsyncClient() as client:

        async def ended(port: int) -> float:
            try:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            except httpx.TransportError:
                return 0
            return sum(
                sample.value
                for family in plain(text)
                for sample in family.samples
                if sample.name == "program_executor_step_attempts_total"
            )

        async def both_have_worked() -> bool:
            assert fleet.is_alive, fleet.log[-2000:]
            await submit(service, "tick", program_data={"seconds": 0.05})
            return bool(await ended(fleet.port) and await ended(fleet.port + 1))

        await eventually(both_have_worked)
    assert await fleet.stop() == 0  # its children with it, which a kill would leave behind
