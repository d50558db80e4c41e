"""The chart's scaling: pods follow the work, and a busy one is not taken away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from builders import a_claim, a_claimant, submitted
from deploy.manifests import (
    OWN_TRIGGER,
    SCALED,
    VALUE_SETS,
    Manifest,
    Render,
    named,
    of_kind,
    pods_of,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import claim
from program_service.bookkeeping.lifecycle import Claimed
from servers import Place, on_postgresql

DUE = "program-executor-worker-due"
LEASE_S = "3000"
"""No stall of the machine outlasts it, and what starts in an hour is not due within it."""

MAX_PERIOD_S = 1800
"""The longest period of a scaling policy that Kubernetes takes."""


def scaler_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return {name of a Deployment: what scales it}."""
    scalers = of_kind("HorizontalPodAutoscaler", manifests) + of_kind("ScaledObject", manifests)
    return {each["spec"]["scaleTargetRef"]["name"]: each for each in scalers}


def test_what_is_scaled_has_no_number_of_its_own(render: Render) -> None:
    manifests = render(SCALED)
    scaled = scaler_of(manifests)
    assert set(scaled) == {f"program-executor-{each}" for each in ("api", "worker-cpu")} | {DUE}
    for deployment in of_kind("Deployment", manifests):
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)
    assert scaler_of(render({})) == {}


def test_limits_are_as_the_values_say(render: Render) -> None:
    scaled = scaler_of(render(SCALED))
    cpu = scaled["program-executor-worker-cpu"]["spec"]
    assert (cpu["minReplicas"], cpu["maxReplicas"]) == (2, 4)
    assert scaled["program-executor-api"]["spec"]["maxReplicas"] == 9
    due = scaled[DUE]["spec"]
    assert (due["minReplicaCount"], due["maxReplicaCount"]) == (0, 20)
    (trigger,) = due["triggers"]
    assert trigger["metadata"]["targetQueryValue"] == "40", "80 % of 50 slots"


def test_pods_go_one_at_a_time_and_have_time_to_end_their_jobs(render: Render) -> None:
    manifests = render(SCALED)
    scaled, pods = scaler_of(manifests), pods_of(manifests)
    behaviors = {
        "program-executor-worker-cpu": scaled["program-executor-worker-cpu"]["spec"]["behavior"],
        DUE: scaled[DUE]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
    }
    for name, behavior in behaviors.items():
        down = behavior["scaleDown"]
        assert down["stabilizationWindowSeconds"] == 600
        grace_s = pods[name]["spec"]["terminationGracePeriodSeconds"]
        period_s = min(grace_s, MAX_PERIOD_S)
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": period_s}]


def test_due_programs_are_counted_with_the_credentials_of_the_pods(render: Render) -> None:
    manifests = render(SCALED)
    (trigger,) = scaler_of(manifests)[DUE]["spec"]["triggers"]
    account = named(trigger["authenticationRef"]["name"], "TriggerAuthentication", manifests)
    assert account["spec"]["secretTargetRef"] == [
        {"parameter": "connection", "name": "program-executor", "key": "database-url"}
    ]


def test_own_triggers_come_instead(render: Render) -> None:
    manifests = render(VALUE_SETS["own_trigger"])
    (scaled,) = of_kind("ScaledObject", manifests)
    assert scaled["spec"]["triggers"] == [OWN_TRIGGER]
    assert of_kind("TriggerAuthentication", manifests) == []


@on_postgresql
async def test_query_counts_what_runs_or_is_due_in_the_queues_of_the_pool(
    database: Database, place: Place, render: Render
) -> None:
    pool = SCALED["workers"][1]
    query = _query(render, place, pool)
    assert await _count(database, query) == 0
    await submitted(database, "due", queue="mail")
    await submitted(database, "elsewhere", queue="bank")
    await submitted(
        database, "later", queue="mail.eu 1", start_at=datetime.now(UTC) + timedelta(hours=1)
    )
    await submitted(database, "running", queue="mail.eu 1")
    worker = a_claimant(lease_s=float(LEASE_S))
    (program,) = await database.transact(claim, [a_claim("running")], worker)
    assert isinstance(program, Claimed)
    assert await _count(database, query) == 2
    few = pool | {"concurrency": 1, "autoscaling": {"by": "due", "maxReplicas": 2}}
    for number in range(5):
        await submitted(database, f"due-{number}", queue="mail")
    assert await _count(database, _query(render, place, few)) == 2, "no more than fill them"


def _query(render: Render, place: Place, pool: Manifest) -> str:
    settings = {"TABLE_NAME": place.table_name, "LEASE_S": LEASE_S}
    values = {"workers": [pool], "settings": settings}
    (scaled,) = of_kind("ScaledObject", render(values))
    query: str = scaled["spec"]["triggers"][0]["metadata"]["query"]
    return query


async def _count(database: Database, query: str) -> Any:
    async with database.engine.connect() as connection:
        return (await connection.execute(sa.text(query))).scalar_one()


def test_drains_leave_all_but_one_pod_of_each_kind(render: Render) -> None:
    budgets = {
        each["metadata"]["name"].removeprefix("program-executor-"): each["spec"]["maxUnavailable"]
        for each in of_kind("PodDisruptionBudget", render(SCALED))
    }
    assert budgets == {"api": 1, "worker-cpu": 1, "worker-due": 1, "worker-fixed": "25%"}
    assert of_kind("PodDisruptionBudget", render(VALUE_SETS["no_budgets"])) == []


def test_upgrade_keeps_all_pods_of_the_api(render: Render) -> None:
    api = named("program-executor-api", "Deployment", render({}))
    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
