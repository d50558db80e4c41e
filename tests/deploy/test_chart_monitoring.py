"""The chart's monitoring: what the Prometheus operator and Grafana are given."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import EVERYTHING, Manifest, Render, chosen, named, of_kind, pods_of


@pytest.fixture(scope="module")
def manifests(render: Render) -> list[Manifest]:
    return render(EVERYTHING)


def read(path: Path) -> Any:
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    return yaml.safe_load(path.read_text())


def test_nothing_is_asked_of_operators_unless_the_values_say_so(render: Render) -> None:
    kinds = {each["apiVersion"].partition("/")[0] for each in render({})}
    assert kinds == {"v1", "apps", "batch", "policy", "networking.k8s.io"}


def test_monitors_choose_the_service_and_all_workers(manifests: list[Manifest]) -> None:
    monitor = named("executor-api", "ServiceMonitor", manifests)
    service = named("executor-api", "Service", manifests)
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    workers = named("executor-worker", "PodMonitor", manifests)
    pods = pods_of(manifests)
    assert sorted(chosen(workers["spec"]["selector"]["matchLabels"], pods)) == [
        "executor-worker-bulk",
        "executor-worker-mail",
    ]
    for pod in ("executor-worker-bulk", "executor-worker-mail"):
        (container,) = pods[pod]["spec"]["containers"]
        (endpoint,) = workers["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}


def test_monitors_give_the_job_names_that_the_alerts_go_by(
    repository: Path, manifests: list[Manifest]
) -> None:
    prometheus = read(repository / "deploy" / "prometheus" / "prometheus.yml")
    jobs = {each["job_name"] for each in prometheus["scrape_configs"]}
    given = set()
    for monitor in of_kind("ServiceMonitor", manifests) + of_kind("PodMonitor", manifests):
        spec = monitor["spec"]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "30s")
        (rule,) = endpoint["relabelings"]
        assert rule["targetLabel"] == "job"
        given.add(rule["replacement"])
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert given == jobs


def test_rules_are_the_committed_ones_with_a_runbook_to_click(
    repository: Path, manifests: list[Manifest]
) -> None:
    (rule,) = of_kind("PrometheusRule", manifests)
    committed = read(repository / "deploy" / "prometheus" / "rules.yml")
    for group in committed["groups"]:
        for alert in group["rules"]:
            notes = alert["annotations"]
            notes["runbook_url"] = f"https://git.example/executor/blob/main/{notes['runbook_url']}"
    assert rule["spec"] == committed
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_rules_are_exactly_the_committed_ones_by_default(repository: Path, render: Render) -> None:
    (rule,) = of_kind("PrometheusRule", render({"monitoring": {"rules": {"enabled": True}}}))
    assert rule["spec"] == read(repository / "deploy" / "prometheus" / "rules.yml")


def test_dashboard_is_the_committed_one(repository: Path, manifests: list[Manifest]) -> None:
    dashboard = named("executor-dashboard", "ConfigMap", manifests)
    (text,) = dashboard["data"].values()
    committed = repository / "deploy" / "grafana" / "program-executor.json"
    assert json.loads(text) == json.loads(committed.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Jobs"}
