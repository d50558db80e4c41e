"""The chart's network policies: who may connect to which pods, and whom they may connect to."""

from typing import Any

from deploy.manifests import (
    PEERS,
    VALUE_SETS,
    Manifest,
    Render,
    chosen,
    every_value_set,
    of_kind,
    pods_of,
)

CLOSED = VALUE_SETS["closed_network"]


def policies(render: Render, values: Manifest) -> dict[str, Any]:
    """Return {component: the policy of its pods}."""
    found = of_kind("NetworkPolicy", render(values))
    return {each["metadata"]["name"].rpartition("-")[2]: each["spec"] for each in found}


def ports(rules: list[Manifest]) -> set[tuple[int, str]]:
    return {(port["port"], port["protocol"]) for rule in rules for port in rule["ports"]}


@every_value_set
def test_every_pod_has_one_policy(values: Manifest, render: Render) -> None:
    manifests = render(values)
    pods = pods_of(manifests)
    seen = [
        name
        for policy in of_kind("NetworkPolicy", manifests)
        for name in chosen(policy["spec"]["podSelector"]["matchLabels"], pods)
    ]
    is_on = values.get("networkPolicy", {}).get("enabled", True)
    assert sorted(seen) == (sorted(pods) if is_on else [])


def test_only_the_api_and_metrics_can_be_reached(render: Render) -> None:
    found = policies(render, {})
    for component in ("api", "worker"):
        assert found[component]["policyTypes"] == ["Ingress"]
        assert found[component]["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert "ingress" not in found["migration"], "none may come in"


def test_only_those_that_are_named_come_in(render: Render) -> None:
    found = policies(render, CLOSED)
    metrics = CLOSED["networkPolicy"]["metricsFrom"]
    (api,), (worker,) = found["api"]["ingress"], found["worker"]["ingress"]
    assert api["from"] == PEERS + metrics, "metrics are on the API's port"
    assert worker["from"] == metrics
    (open_api,) = policies(render, {"networkPolicy": {"metricsFrom": PEERS}})["api"]["ingress"]
    assert "from" not in open_api, "the API is for everyone"


def test_pods_connect_to_what_they_need_and_to_nothing_else(render: Render) -> None:
    dns = {(53, "UDP"), (53, "TCP")}
    found = policies(render, {"networkPolicy": {"restrictEgress": True}})
    everything = dns | {(port, "TCP") for port in (5432, 5671, 5672, 443)}
    for component in ("api", "worker"):
        assert found[component]["policyTypes"] == ["Ingress", "Egress"]
        assert ports(found[component]["egress"]) == everything
    assert ports(found["migration"]["egress"]) == dns | {(5432, "TCP")}


def test_places_to_connect_to_are_those_that_are_named(render: Render) -> None:
    said = CLOSED["networkPolicy"]["egress"]
    found = policies(render, CLOSED)
    for policy in found.values():
        (database,) = [rule for rule in policy["egress"] if ports([rule]) == {(5432, "TCP")}]
        assert database["to"] == said["databaseTo"]
    running = ports(found["worker"]["egress"])
    assert (443, "TCP") not in running, "there are no endpoints"
    assert (6379, "TCP") in running, "jobs need it"
    assert (6379, "TCP") not in ports(found["migration"]["egress"])
