"""The chart's values: what is offered, described, and refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from program_service.settings import Settings

MANAGED = {
    *("DATABASE_URL", "AMQP_URL", "API_KEYS"),
    *("HOST", "PORT", "WORKER_HOST", "WORKER_PORT", "WORKER_NAME", "MIGRATE_ON_START"),
    *("JOBS", "QUEUES", "CONCURRENCY", "GRACE_S"),
}
"""Settings that have values of their own, or none, and are not chosen in `settings`."""

POOL = {"name": "mail", "replicas": 1, "queues": ["mail"], "concurrency": 9, "jobs": ["mails"]}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"api": {"replica": 3}}, "replica", id="typo"),
        pytest.param({"settings": {"LEASES_S": "60"}}, "LEASES_S", id="typo_in_a_setting"),
        pytest.param({"settings": {"DATABASE_URL": "x"}}, "DATABASE_URL", id="secret_in_clear"),
        pytest.param({"settings": {"LEASE_S": 60}}, "/settings/LEASE_S", id="not_a_string"),
        pytest.param({"graceS": 2.5}, "/graceS", id="half_a_second"),
        pytest.param({"workers": [POOL | {"name": "Mail"}]}, "/workers/0/name", id="bad_name"),
        pytest.param({"workers": [POOL | {"jobs": ["a,b"]}]}, "/workers/0/jobs/0", id="two_in_one"),
        pytest.param({"workers": [POOL, POOL]}, "the name mail", id="same_name"),
    ],
)
def test_values_that_make_no_sense_are_refused(
    values: dict[str, Any], complaint: str, *, helm: Any, chart: Any
) -> None:
    with pytest.raises(helm.HelmError, match=complaint):
        chart.render(values, name="program-executor")


def test_chart_offers_every_setting_that_has_no_value_of_its_own(chart: Any) -> None:
    offered = chart.schema["properties"]["settings"]["propertyNames"]["enum"]
    known = {field.upper() for field in Settings.model_fields}
    assert offered == sorted(known - MANAGED), "values.schema.json lists them"


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


def test_chart_is_for_the_version_of_the_project(chart: Any, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert chart.metadata["appVersion"] == project["version"]
