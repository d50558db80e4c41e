"""The dashboard: every panel shows something of a deployment that has seen all there is to see."""

import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as plain

from asking import all_ended, select, submit, submit_many
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from private_prometheus import DEPLOY, WINDOW, PrivatePrometheus
from processes import Deployment, Process
from program_service.telemetry import Metrics

FILE = DEPLOY.parent / "grafana" / "program-executor.json"
ROWS = [
    "Health",
    "Throughput",
    "Latency",
    "Failures",
    "Queues & workers",
    "Broker & database",
    "Callbacks",
]
LOOKED_BACK_S = 60.0

BOTH = {
    "build_info",
    "commit_batch_rows",
    "db_operation_seconds",
    "programs_submitted",
    "publish_confirm_seconds",
    "wakeups_published",
}
OF_THE_SERVICE = BOTH | {
    "http_request_duration_seconds",
    "http_requests",
    "programs",
    "worker_slots",
    "workers",
}
OF_A_WORKER = BOTH | {
    "breaker_open",
    "callback_blocked",
    "callback_requests",
    "event_loop_lag_seconds",
    "program_duration_seconds",
    "programs_finished",
    "stale_writes_rejected",
    "step_attempts",
    "step_duration_seconds",
    "step_retries",
    "step_wait_seconds",
    "wakeups_received",
}
"""What each process counts of its own; what only faults bring about is counted in other tests."""

Panel = dict[str, Any]


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(FILE.read_text())


def panels_of(dashboard: Any) -> list[Panel]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions_of(dashboard: Any) -> list[str]:
    """Return the expressions of all panels, as Grafana sends them."""
    return [
        target["expr"]
        .replace("$__rate_interval", WINDOW)
        .replace("$queue", ".*")
        .replace("$program_job", ".*")
        for panel in panels_of(dashboard)
        for target in panel["targets"]
    ]


def test_rows_are_in_order_and_none_is_empty(dashboard: Any) -> None:
    kinds = [panel["type"] for panel in dashboard["panels"]]
    assert [each["title"] for each in dashboard["panels"] if each["type"] == "row"] == ROWS
    assert ("row", "row") not in list(pairwise(kinds))
    assert kinds[-1] != "row"


def test_panels_say_what_they_show_and_in_which_unit(dashboard: Any) -> None:
    for panel in panels_of(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


def test_source_of_the_data_is_chosen_by_whoever_looks(dashboard: Any) -> None:
    (choice,) = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    source = {"type": "prometheus", "uid": f"${{{choice['name']}}}"}
    queries = [each for each in dashboard["templating"]["list"] if each is not choice]
    askers = [*panels_of(dashboard), *queries]
    askers += [target for panel in panels_of(dashboard) for target in panel["targets"]]
    assert [asker["datasource"] for asker in askers] == [source] * len(askers)


def test_panels_have_places_and_numbers_of_their_own(dashboard: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_metric_is_on_the_dashboard_and_no_other(dashboard: Any) -> None:
    shown = set(re.findall(r"program_executor_\w+", " ".join(expressions_of(dashboard))))
    whole = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    families = Metrics().registry.collect()
    assert whole == {f"{each.name}{'_total' * (each.type == 'counter')}" for each in families}


async def put(service: Process, name: str, url: str, **fields: Any) -> None:
    """Register an endpoint."""
    answer = await service.client.put(f"/jobs/{name}", json={"url": url, **fields})
    assert answer.status_code == 201, answer.text


async def counted(process: Process) -> set[str]:
    """Return the metrics, without their prefix, that are not zero."""
    text = (await process.client.get("/metrics")).text
    return {
        family.name.removeprefix("program_executor_")
        for family in plain(text)
        if any(sample.value for sample in family.samples)
    }


async def let_an_outcome_come_too_late(
    deployment: Deployment, service: Process, gate: Path
) -> None:
    """Stop a running program by hand, in SQL, and let its job end before its worker notices."""
    run_id = await submit(service, "wait", program_data={"gate": str(gate)})

    async def runs() -> bool:
        return run_id in deployment.journal.read_text()

    await eventually(runs)
    stop = "UPDATE {programs} SET errored_at = now() WHERE run_id = $1"
    await select(deployment, stop, run_id)
    gate.touch()


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_every_panel_shows_something_once_everything_has_happened(
    dashboard: Any, deployment: Deployment, prometheus: PrivatePrometheus, tmp_path: Path
) -> None:
    async def answer(call: Call) -> Reply:
        return Reply(503 if call.json["job"] == "sick" else 200)

    service, worker = await asyncio.gather(
        deployment.serve(callback_allow="127.0.0.0/8 10.0.0.0/8"),
        deployment.work(
            modules=["jobs_file", "jobs_observed"], callback_allow="127.0.0.0/8", threads=4
        ),
    )
    await prometheus.scrape(service=[service], worker=[worker])
    async with endpoint(answer) as well, endpoint(answer) as ill:
        await put(service, "charge", well.url)
        await put(service, "sick", ill.url, retry={"initial_s": 0, "max_attempts": 100})
        await put(service, "forbidden", "http://10.1.1.1/")
        await let_an_outcome_come_too_late(deployment, service, tmp_path / "gate")
        everything = ("tick", "flaky", "broken", "ignorable", "parent", "charge", "forbidden")
        sick = await submit(service, "sick")
        await service.client.get("/programs/nobody")

        async def all_panels_show_something() -> bool:
            await submit_many(
                service, [{"jobs": [job], "program_data": {"seconds": 0}} for job in everything]
            )
            return not await blank(prometheus, expressions_of(dashboard))

        try:
            await eventually(all_panels_show_something, within_s=LOOKED_BACK_S)
        except AssertionError:
            assert await blank(prometheus, expressions_of(dashboard)) == []
        assert await counted(service) >= OF_THE_SERVICE
        assert await counted(worker) >= OF_A_WORKER
        await service.client.post(f"/programs/{sick}/cancel")
        await all_ended(deployment)


async def blank(prometheus: PrivatePrometheus, expressions: list[str]) -> list[str]:
    """Return the expressions that show no number in the time that is looked back."""
    return [
        expression
        for expression in expressions
        if not any(
            value not in {"NaN", "+Inf"}
            for series in await prometheus.query_last(expression, seconds=LOOKED_BACK_S)
            for _, value in series["values"]
        )
    ]
