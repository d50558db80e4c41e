"""The Helm chart: what it renders is valid, safe, and what our settings understand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from program_service.settings import PREFIX, Settings

Manifest = dict[str, Any]
Render = Callable[[Manifest], list[Manifest]]

KUBERNETES = "1.32"
STOP_MARGIN_S = 15
WARNING = 2
"""The severity from which on a finding of Helm's linter counts."""

CREDENTIALS = {"DATABASE_URL", "AMQP_URL", "API_KEYS"}

POOL: Manifest = {
    "name": "mail",
    "replicas": 0,
    "queues": ["mail", "default"],
    "concurrency": 10_000,
    "jobs": ["shop.mails", "shop.bills"],
}
EVERYTHING: Manifest = {
    "image": {"repository": "registry.example/executor", "tag": "9.9.9", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "secrets": {
        "databaseUrl": {"name": "postgres", "key": "uri"},
        "amqpUrl": {"name": "rabbitmq", "key": "connection_string"},
        "apiKeys": {"name": "keys", "key": "all"},
    },
    "settings": {"LEASE_S": "60", "MAX_BODY_BYTES": "2097152", "LOG_LEVEL": "DEBUG"},
    "openTelemetry": {"EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
    "graceS": 90,
    "api": {"replicas": 3, "port": 80, "resources": {"limits": {"memory": "1Gi"}}},
    "workers": [POOL, POOL | {"name": "bulk", "image": "registry.example/bulk:1", "resources": {}}],
    "serviceAccount": {"create": True, "name": "mine", "annotations": {"cloud.example/role": "db"}},
}
NO_WORKERS: Manifest = {"workers": [], "serviceAccount": {"create": False}}

every_value_set = pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="defaults"),
        pytest.param(EVERYTHING, id="everything"),
        pytest.param(NO_WORKERS, id="no_workers"),
    ],
)


@pytest.fixture(scope="module")
def render(chart: Any) -> Render:
    """Return a function that makes the manifests of a release with the chart's own name."""
    yaml = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")

    def manifests(values: Manifest) -> list[Manifest]:
        texts = chart.render(values, name="program-executor", namespace="jobs")
        return [
            manifest
            for path, text in texts.items()
            if path.endswith(".yaml")
            for manifest in yaml.safe_load_all(text)
            if manifest
        ]

    return manifests


def of_kind(kind: str, manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return {name of a Deployment or Job: the template of its pods}."""
    owners = of_kind("Deployment", manifests) + of_kind("Job", manifests)
    return {owner["metadata"]["name"]: owner["spec"]["template"] for owner in owners}


def variables_of(pod: Manifest) -> dict[str, Manifest]:
    """Return {name of a setting: its entry in the container}."""
    (container,) = pod["spec"]["containers"]
    return {each["name"].removeprefix(PREFIX): each for each in container["env"]}


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
        kubernetes.validate(manifest, KUBERNETES, strict=True)


@every_value_set
def test_every_selector_selects_its_own_pods_and_no_others(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    pods = pods_of(manifests)
    selectors = {
        each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"]
        for each in of_kind("Deployment", manifests)
    }
    (service,) = of_kind("Service", manifests)
    selectors[service["metadata"]["name"]] = service["spec"]["selector"]
    for name, selector in selectors.items():
        chosen = [
            pod for pod in pods if selector.items() <= pods[pod]["metadata"]["labels"].items()
        ]
        assert chosen == [name]


@every_value_set
def test_every_variable_is_a_setting(values: Manifest, render: Render) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for pod in pods_of(render(values)).values():
        (container,) = pod["spec"]["containers"]
        names = [each["name"] for each in container["env"]]
        assert all(name.startswith((PREFIX, "OTEL_")) for name in names)
        assert len(set(names)) == len(names), "a variable is set twice"
        ours = {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
        assert ours <= known


def test_running_pods_are_told_where_their_spans_go(render: Render) -> None:
    for name, pod in pods_of(render(EVERYTHING)).items():
        endpoint = variables_of(pod).get("OTEL_EXPORTER_OTLP_ENDPOINT", {}).get("value")
        assert endpoint == (None if name.endswith("migration") else "http://collector:4318")


@every_value_set
def test_every_pod_gets_the_credentials_that_it_needs_and_from_secrets_alone(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    assert of_kind("Secret", manifests) == []
    for name, pod in pods_of(manifests).items():
        variables = variables_of(pod)
        needed = {
            "program-executor-api": CREDENTIALS,
            "program-executor-migration": {"DATABASE_URL"},
        }.get(name, CREDENTIALS - {"API_KEYS"})
        assert set(variables) & CREDENTIALS == needed
        assert all("secretKeyRef" in variables[each]["valueFrom"] for each in needed)


def test_settings_understand_what_the_chart_sets(
    render: Render, settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    pods = pods_of(render(EVERYTHING))
    variables = variables_of(pods["program-executor-worker-mail"])
    settings = settings_of(
        {each["name"]: each.get("value", "secret://") for each in variables.values()}
    )
    assert settings.jobs == POOL["jobs"]
    assert settings.queues == POOL["queues"]
    assert settings.concurrency == POOL["concurrency"]
    assert settings.grace_s == EVERYTHING["graceS"]
    assert settings.max_body_bytes == int(EVERYTHING["settings"]["MAX_BODY_BYTES"])


def test_api_and_workers_listen_where_kubernetes_asks(render: Render) -> None:
    manifests = render({})
    for name, prefix in {"api": "", "worker-default": "worker_"}.items():
        pod = pods_of(manifests)[f"program-executor-{name}"]
        (container,) = pod["spec"]["containers"]
        (port,) = container["ports"]
        assert port["containerPort"] == Settings.model_fields[f"{prefix}port"].default
        assert variables_of(pod)[f"{prefix}host".upper()]["value"] == "0.0.0.0"
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port["name"]}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    (service,) = of_kind("Service", manifests)
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http"]


@every_value_set
def test_every_pod_meets_the_restricted_standard_and_cannot_write_but_to_tmp(
    values: Manifest, render: Render
) -> None:
    for pod in pods_of(render(values)).values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["volumes"] == [{"name": "tmp", "emptyDir": {}}]
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert spec["automountServiceAccountToken"] is False


@every_value_set
def test_service_links_set_no_variables(values: Manifest, render: Render) -> None:
    for pod in pods_of(render(values)).values():
        assert pod["spec"]["enableServiceLinks"] is False, "they would set PROGRAM_EXECUTOR_PORT"


@every_value_set
def test_running_jobs_have_their_grace_time(values: Manifest, render: Render) -> None:
    for manifest in of_kind("Deployment", render(values)):
        pod = manifest["spec"]["template"]
        grace_s = int(variables_of(pod)["GRACE_S"]["value"])
        assert pod["spec"]["terminationGracePeriodSeconds"] == grace_s + STOP_MARGIN_S


def test_pools_have_their_own_image_or_that_of_all_pods(render: Render) -> None:
    pods = pods_of(render(EVERYTHING))
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in pods.items()}
    own = {"program-executor-worker-bulk": "registry.example/bulk:1"}
    assert images == dict.fromkeys(pods, "registry.example/executor:9.9.9") | own


@every_value_set
def test_migration_runs_before_all_else_and_needs_nothing_of_the_chart(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    (job,) = of_kind("Job", manifests)
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    made = {account["metadata"]["name"] for account in of_kind("ServiceAccount", manifests)}
    assert job["spec"]["template"]["spec"].get("serviceAccountName") not in made
    api = pods_of(manifests)["program-executor-api"]
    assert variables_of(api)["MIGRATE_ON_START"]["value"] == "false"
