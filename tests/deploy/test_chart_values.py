"""The chart's values: what is offered, described, and refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from chart_files import MANAGED
from program_service.settings import Settings

POOL = {"name": "mail", "replicas": 1, "queues": ["mail"], "concurrency": 9, "jobs": ["mails"]}
INGRESS = {"api": {"ingress": {"enabled": True}}}
ANY_HOST = {"api": {"ingress": {"enabled": True, "hosts": ["*.example.org"]}}}
HOST_VOLUME = {"name": "host", "hostPath": {"path": "/"}}


def a_pool(**fields: Any) -> dict[str, Any]:
    return {"workers": [POOL | fields]}


def scaled(**fields: Any) -> dict[str, Any]:
    return a_pool(autoscaling=fields)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"api": {"replica": 3}}, "replica", id="typo"),
        pytest.param({"settings": {"LEASES_S": "60"}}, "'LEASES_S'", id="typo_in_a_setting"),
        pytest.param(
            {"settings": {"DATABASE_URL": "x"}}, "'DATABASE_URL'", id="credential_in_clear"
        ),
        pytest.param({"settings": {"NOTIFY_SECRET": "x"}}, "'NOTIFY_SECRET'", id="secret_in_clear"),
        pytest.param({"settings": {"LEASE_S": 60}}, "/settings/LEASE_S", id="not_a_string"),
        pytest.param({"api": {"graceS": 2.5}}, "/api/graceS", id="half_a_second"),
        pytest.param({"api": {"volumes": [HOST_VOLUME]}}, "hostPath", id="volume_of_the_host"),
        pytest.param({"podSecurityContext": {"runAsUser": 0}}, "runAsUser", id="root"),
        pytest.param(INGRESS, "name at least one host", id="ingress_without_host"),
        pytest.param(ANY_HOST, "it may have no \\*", id="ingress_for_any_host"),
        pytest.param(a_pool(name="Mail"), "/workers/0/name", id="bad_name"),
        pytest.param(a_pool(queue="mail"), "queue", id="typo_in_a_pool"),
        pytest.param(a_pool(jobs=["a,b"]), "/workers/0/jobs/0", id="two_in_one"),
        pytest.param({"workers": [POOL, POOL]}, "the name mail", id="same_name"),
        pytest.param({"workers": [{"replicas": 1}]}, "name", id="pool_without_name"),
        pytest.param(
            {"workerDefaults": {"name": "x"}}, "invalid propertyName 'name'", id="name_for_all"
        ),
        pytest.param(scaled(by="keda"), "/workers/0/autoscaling/by", id="unknown_scaler"),
        pytest.param(scaled(by="cpu", minReplicas=0), "only with by: due", id="cpu_from_0"),
        pytest.param(scaled(by="due", minReplicas=99), "more than maxReplicas", id="min_over_max"),
        pytest.param(
            a_pool(env=[{"name": "PROGRAM_EXECUTOR_LEASE_S", "value": "1"}]),
            "give it without its prefix in settings",
            id="setting_as_variable",
        ),
        pytest.param(
            a_pool(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
            "the variable A is given twice",
            id="variable_twice",
        ),
        pytest.param(
            a_pool(podLabels={"app.kubernetes.io/name": "x"}), "podLabels", id="label_of_ours"
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(
    values: dict[str, Any], complaint: str, *, helm: Any, chart: Any
) -> None:
    with pytest.raises(helm.HelmError, match=complaint):
        chart.render(values, name="program-executor")


def test_chart_offers_every_setting_that_has_no_value_of_its_own_in_one_place(chart: Any) -> None:
    clear, secret = (
        set(chart.schema["definitions"][name]["enum"]) for name in ("setting", "secretSetting")
    )
    known = {field.upper() for field in Settings.model_fields}
    assert clear | secret == known - MANAGED
    assert clear & secret == set()
    assert "NOTIFY_SECRET" in secret


def test_every_value_is_described(chart: Any) -> None:
    def undescribed(schema: Any, path: str) -> list[str]:
        found = []
        for name, value in schema.get("properties", {}).items():
            if not value.get("description"):
                found.append(f"{path}/{name}")
            found += undescribed(value, f"{path}/{name}")
            found += undescribed(value.get("items", {}), f"{path}/{name}/*")
        return found

    assert undescribed(chart.schema, "") == []
    for name, definition in chart.schema["definitions"].items():
        assert definition["description"], name
        assert undescribed(definition, name) == []


def test_every_object_refuses_what_it_does_not_know(chart: Any) -> None:
    def lax(schema: Any, path: str) -> list[str]:
        found = []
        if "properties" in schema and schema.get("additionalProperties") is not False:
            found.append(path)
        for name, value in schema.get("properties", {}).items():
            found += lax(value, f"{path}/{name}") + lax(value.get("items", {}), f"{path}/{name}/*")
        return found

    assert lax(chart.schema, "") == []
    assert [
        path for name, each in chart.schema["definitions"].items() for path in lax(each, name)
    ] == []


def test_readme_tells_of_every_value(chart_directory: Path, chart: Any) -> None:
    text = (chart_directory / "README.md").read_text()
    pool = chart.schema["definitions"]["pool"]["properties"]
    top = [name for name in chart.schema["properties"] if name != "global"]
    for value in [*top, *(f"workerDefaults.{name}" for name in pool if name != "name")]:
        assert f"| `{value}` |" in text


def test_chart_is_for_the_version_of_the_project(chart: Any, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert chart.metadata["appVersion"] == project["version"]
