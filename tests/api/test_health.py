"""Health: what probes and Prometheus ask for."""

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from builders import lapse
from patience import eventually
from program_executor import JobContext, Retry, RetryableError, job
from program_service import app
from program_service.bookkeeping.database import Database
from program_service.telemetry import VERSION
from servers import Place, on_postgresql
from serving import Service, json_of, problem_of, serving
from tables import drop_all

FAMILIES = {
    "programs_submitted",
    "programs_finished",
    "step_attempts",
    "step_retries",
    "step_duration_seconds",
    "step_wait_seconds",
    "program_duration_seconds",
    "leases_lost",
    "stale_writes_rejected",
    "wakeups_published",
    "wakeups_received",
    "publish_confirm_seconds",
    "commit_batch_rows",
    "db_operation_seconds",
    "http_requests",
    "http_request_duration_seconds",
    "programs",
    "queue_depth",
    "oldest_due_age_seconds",
    "workers",
    "worker_slots",
    "build_info",
}
"""Those of the contract (api.md, section 4) that a service and an in-process worker have."""


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_answer_to_head_as_to_get(service: Service, path: str) -> None:
    """Monitors from outside send it, and took 405 for an outage."""
    told = await service.client.get(path)
    answer = await service.client.head(path)
    assert (answer.status_code, told.status_code) == (200, 200)
    assert answer.headers["content-length"] == told.headers["content-length"]


async def test_process_that_lives_says_so(service: Service) -> None:
    answer = await service.client.get("/livez")
    assert (answer.status_code, json_of(answer)) == (200, {"status": "ok"})


async def test_service_that_can_serve_is_ready(service: Service) -> None:
    answer = await service.client.get("/readyz")
    assert answer.status_code == 200
    assert json_of(answer) == {
        "status": "ok",
        "checks": {"database": "ok", "migrations": "ok", "broker": "ok", "loops": "ok"},
    }


async def test_service_without_tables_is_not_ready_and_says_what_to_do(place: Place) -> None:
    database = Database.connect(place.url, table_name="not_there")
    async with serving(database) as service:
        answer = await service.client.get("/readyz")
        assert answer.status_code == 503
        ready = json_of(answer)
        assert (ready["status"], ready["checks"]["database"]) == ("unready", "ok")
        assert "program-executor migrate" in ready["checks"]["migrations"]
        assert (await service.client.get("/livez")).status_code == 200
        assert (await service.client.get("/metrics")).status_code == 200
        # whoever asks for programs is told to come again, not that something is broken
        answer = await service.client.get("/programs")
        problem_of(answer, 503, "database_unavailable")
    await database.close()


async def test_service_brings_the_tables_up_to_date_when_it_starts(place: Place) -> None:
    database = Database.connect(place.url, table_name="brought_up")
    async with serving(database, jobs=(), migrate_on_start=True) as service:
        assert (await service.client.get("/readyz")).status_code == 200
        assert json_of(await service.client.get("/programs"))["programs"] == []
    await database.close()


@on_postgresql  # on SQLite there is no other process
async def test_service_starts_and_stops_while_another_process_changes_the_tables(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its probe would have it killed, again and again, while a long index is made."""
    monkeypatch.setattr(app, "MIGRATE_WITHIN_S", 0.01)
    database = Database.connect(place.url, table_name="brought_up_later")
    async with (
        database.alone("migrate"),
        serving(database, jobs=(), migrate_on_start=True) as service,
    ):
        assert (await service.client.get("/livez")).status_code == 200
        assert (await service.client.get("/readyz")).status_code == 503
    async with serving(database, jobs=(), migrate_on_start=True) as service:

        async def is_ready() -> bool:
            return (await service.client.get("/readyz")).status_code == 200

        await eventually(is_ready)
    await drop_all(database)
    await database.close()


def samples(text: str) -> dict[str, list[Any]]:
    """Return {family, without prefix: its samples}."""
    return {family.name.removeprefix("program_executor_"): family.samples for family in plain(text)}


def value(families: dict[str, list[Any]], name: str, **labels: str) -> float:
    """Return a sample's value."""
    full = f"program_executor_{name}"
    found = [
        sample.value
        for family in families.values()
        for sample in family
        if sample.name == full and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


@pytest.fixture
async def busy(service: Service) -> tuple[Service, list[str]]:
    """Return a service that has seen a life: programs that finished, erred, retried, wait."""

    @job(retry=Retry(initial_s=3_600, jitter="none"))
    async def reserve(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise RetryableError("the desk is closed", code="closed")

    @job
    async def charge(_ctx: JobContext) -> None:
        raise LookupError("no such card")

    await service.crew.hire(reserve, charge)
    later = {"start_at": "2099-01-01T00:00:00Z"}
    retried, errored, cancelled, _ = run_ids = [
        (await service.submit("reserve"))["run_id"],
        (await service.submit("charge"))["run_id"],
        (await service.submit("ship"))["run_id"],
        (await service.submit("ship", **later))["run_id"],
    ]
    await eventually(lambda: service.has_status(retried, "retrying"))
    await lapse(service.database, retried)
    for run_id in (retried, errored):
        await service.ended(run_id)
    await service.client.post(f"/programs/{cancelled}/cancel")
    await service.submit("ship")
    for path in ("attempts", "explain", "events", "job-data/reserve", "nothing"):
        await service.client.get(f"/programs/{retried}/{path}")
    await service.client.get("/programs/no-such-program")
    return service, run_ids


async def test_metrics_count_what_happened(busy: tuple[Service, list[str]]) -> None:
    service, _ = busy

    async def worker_is_seen_idle() -> bool:
        families = samples((await service.client.get("/metrics")).text)
        return value(families, "worker_slots", state="free") == 100

    await eventually(worker_is_seen_idle)
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = samples(answer.text)
    assert families.keys() >= FAMILIES
    assert value(families, "programs_submitted_total", source="api") == 5
    assert value(families, "programs_finished_total", outcome="cancelled") == 1
    assert value(families, "build_info", version=VERSION) == 1
    posts = {"route": "/programs", "method": "POST", "code": "201"}
    assert value(families, "http_requests_total", **posts) == 5
    not_found = {"route": "/programs/{run_id}", "method": "GET", "code": "404"}
    assert value(families, "http_requests_total", **not_found) == 1
    assert value(families, "programs", status="scheduled") == 1
    assert value(families, "programs", status="pending") == 1
    assert value(families, "workers", queue="default") == 1
    assert value(families, "oldest_due_age_seconds", queue="default") > 0
    assert value(families, "commit_batch_rows_count", op="submit") == 5


async def test_metrics_of_the_worker_count_steps(busy: tuple[Service, list[str]]) -> None:
    service, _ = busy
    counted = service.crew.shifts[0].metrics.registry.get_sample_value
    prefix = "program_executor"
    kind = {"kind": "in_process"}
    assert counted(
        f"{prefix}_step_attempts_total", {"job": "reserve", "outcome": "done", **kind}
    ) == pytest.approx(1)
    assert counted(
        f"{prefix}_step_attempts_total", {"job": "reserve", "outcome": "retry", **kind}
    ) == pytest.approx(1)
    retries = {"job": "reserve", "reason": "closed"}
    assert counted(f"{prefix}_step_retries_total", retries) == pytest.approx(1)
    for outcome in ("finished", "errored"):
        ended = {"outcome": outcome}
        assert counted(f"{prefix}_programs_finished_total", ended) == pytest.approx(1)
        assert counted(f"{prefix}_program_duration_seconds_count", ended) == pytest.approx(1)
    assert counted(f"{prefix}_step_wait_seconds_count", {"job": "reserve"}) == pytest.approx(2)


async def test_openmetrics_are_given_when_asked_for(busy: tuple[Service, list[str]]) -> None:
    service, _ = busy
    accept = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
    answer = await service.client.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name.removeprefix("program_executor_") for family in openmetrics(answer.text)}
    assert names >= FAMILIES - {"build_info"}


async def test_no_label_holds_a_run_id(busy: tuple[Service, list[str]]) -> None:
    service, run_ids = busy
    answer = await service.client.get("/metrics")
    labels = {
        label
        for family in plain(answer.text)
        for sample in family.samples
        for label in sample.labels.values()
    }
    assert not [label for label in labels for run_id in run_ids if run_id in label]
    assert "/programs/{run_id}/explain" in labels
    assert "other" in labels  # what leads nowhere
