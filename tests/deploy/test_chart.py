"""The Helm chart: what it renders is valid, and its parts find each other."""

from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import (
    EVERYTHING,
    VALUE_SETS,
    Manifest,
    Render,
    chosen,
    every_value_set,
    of_kind,
    pods_of,
)
from program_service.settings import Settings

KUBERNETES = "1.32"
WARNING = 2
"""The severity from which on a finding of Helm's linter counts."""

FOREIGN = ("keda.sh/", "monitoring.coreos.com/")
"""Whose kinds test_chart_kinds.py looks at."""

MAX_LABEL = 63


@every_value_set
def test_linter_has_no_complaint(values: Manifest, helm: Any, chart_directory: Path) -> None:
    report = helm.lint(chart_directory, values, strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] >= WARNING] == []


@every_value_set
def test_every_manifest_is_valid_for_kubernetes(values: Manifest, render: Render) -> None:
    reason = "needs the PyPI package kubernetes-validate"
    kubernetes = pytest.importorskip("kubernetes_validate", reason=reason)
    for manifest in render(values):
        if not manifest["apiVersion"].startswith(FOREIGN):
            kubernetes.validate(manifest, KUBERNETES, strict=True)


@every_value_set
def test_no_two_objects_have_one_name_and_all_names_are_short_enough(
    values: Manifest, render: Render
) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in render(values)]
    assert len(set(names)) == len(names)
    assert [name for _, name in names if len(name) > MAX_LABEL] == []


@every_value_set
def test_every_selector_selects_its_own_pods_and_no_others(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    pods = pods_of(manifests)
    for each in of_kind("Deployment", manifests) + of_kind("PodDisruptionBudget", manifests):
        selector = each["spec"]["selector"]["matchLabels"]
        assert chosen(selector, pods) == [each["metadata"]["name"]]
    for name, pod in pods.items():
        for spread in pod["spec"].get("topologySpreadConstraints", []):
            assert chosen(spread["labelSelector"]["matchLabels"], pods) == [name]
    (service,) = of_kind("Service", manifests)
    assert chosen(service["spec"]["selector"], pods) == [service["metadata"]["name"]]


@every_value_set
def test_every_named_port_is_that_of_the_pods(values: Manifest, render: Render) -> None:
    manifests = render(values)
    pods = pods_of(manifests)
    (service,) = of_kind("Service", manifests)
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http"]
    for name, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        if name.endswith("-migration"):
            assert "ports" not in container
            continue
        (port,) = container["ports"]
        field = "port" if name.endswith("-api") else "worker_port"
        assert port == {"name": "http", "containerPort": Settings.model_fields[field].default}
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/livez", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_pools_have_their_own_image_or_that_of_all_pods(render: Render) -> None:
    pods = pods_of(render(EVERYTHING))
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in pods.items()}
    own = {"executor-worker-bulk": "registry.example/bulk:1"}
    assert images == dict.fromkeys(pods, "registry.example/executor:9.9.9") | own
    digest = VALUE_SETS["digest"]["image"]["digest"]
    for pod in pods_of(render(VALUE_SETS["digest"])).values():
        assert pod["spec"]["containers"][0]["image"] == f"program-executor@{digest}"


def test_pools_have_what_they_say_and_else_the_defaults(render: Render) -> None:
    shared = {"replicas": 7, "nodeSelector": {"a": "1", "b": "1"}, "priorityClassName": "low"}
    own = {"replicas": 0, "nodeSelector": {"b": "2"}, "priorityClassName": ""}
    pools = [{"name": "own"} | own, {"name": "shared"}]
    deployments = {
        each["metadata"]["name"].rpartition("-")[2]: each["spec"]
        for each in of_kind("Deployment", render({"workerDefaults": shared, "workers": pools}))
    }
    assert (deployments["own"]["replicas"], deployments["shared"]["replicas"]) == (0, 7)
    pods = {name: each["template"]["spec"] for name, each in deployments.items()}
    assert pods["own"]["nodeSelector"] == {"a": "1", "b": "2"}
    assert pods["shared"]["nodeSelector"] == {"a": "1", "b": "1"}
    assert "priorityClassName" not in pods["own"]
    assert pods["shared"]["priorityClassName"] == "low"


def test_pods_run_where_the_values_say(render: Render) -> None:
    for name, pod in pods_of(render(EVERYTHING)).items():
        spec, said = pod["spec"], EVERYTHING["workerDefaults"]
        for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
            assert spec[key] == said[key]
        if not name.endswith("-migration"):
            (spread,) = spec["topologySpreadConstraints"]
            assert said["topologySpread"][0].items() <= spread.items()
            assert said["podLabels"].items() <= pod["metadata"]["labels"].items()
            assert pod["metadata"]["annotations"] == said["podAnnotations"]


def test_ingress_leads_to_the_service_under_each_host(render: Render) -> None:
    (ingress,) = of_kind("Ingress", render(EVERYTHING))
    said = EVERYTHING["api"]["ingress"]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == said["hosts"]
    for rule in ingress["spec"]["rules"]:
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": "executor-api", "port": {"name": "http"}}
    assert ingress["spec"]["tls"] == [{"secretName": "programs-tls", "hosts": said["hosts"]}]
    (plain,) = of_kind("Ingress", render(VALUE_SETS["ingress_without_tls"]))
    assert "tls" not in plain["spec"]
    assert of_kind("Ingress", render({})) == []
