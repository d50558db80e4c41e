"""The rules: valid, each tested for when it fires and when not, each with a page to read."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from private_prometheus import DEPLOY
from program_service.telemetry import Metrics

ROOT = DEPLOY.parents[1]
RUNBOOK = re.compile(r"^docs/operate\.md#([\w-]+)$")

Promtool = Callable[..., str]


def read(name: str) -> Any:
    """Return what a file of Prometheus says."""
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    return yaml.safe_load((DEPLOY / name).read_text())


def alerts() -> dict[str, Any]:
    """Return {name: alert}."""
    return {rule["alert"]: rule for group in read("rules.yml")["groups"] for rule in group["rules"]}


def test_configuration_and_rules_are_valid(promtool: Promtool) -> None:
    assert "12 rules found" in promtool("check", "rules", DEPLOY / "rules.yml")
    assert "is valid" in promtool("check", "config", DEPLOY / "prometheus.yml")


def test_alerts_fire_when_they_should_and_only_then(promtool: Promtool) -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml", folder=DEPLOY)


def test_each_alert_is_tested_for_both() -> None:
    seen: defaultdict[str, set[bool]] = defaultdict(set)
    for test in read("rules_test.yml")["tests"]:
        for case in test["alert_rule_test"]:
            seen[case["alertname"]].add(bool(case.get("exp_alerts")))
    assert dict(seen) == {name: {True, False} for name in alerts()}


def test_each_alert_says_how_grave_it_is_and_where_to_read_on() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    sections = {heading.lower().replace(" ", "-"): heading for heading in headings}
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        notes = alert["annotations"]
        assert notes["summary"]
        assert notes["description"]
        runbook = RUNBOOK.match(notes["runbook_url"])
        assert runbook, name
        text = page.partition(f"### {sections[runbook[1]]}\n")[2].partition("\n#")[0]
        assert [word for word in ("*Means:*", "*Look at:*", "*Do:*") if word not in text] == []
        short, severity = name.removeprefix("ProgramExecutor"), alert["labels"]["severity"]
        assert f"| `{short}` | {severity} | [{sections[runbook[1]]}](#{runbook[1]}) |" in page


def test_rules_name_metrics_that_exist() -> None:
    families = Metrics().registry.collect()
    known = {f"{each.name}{'_total' * (each.type == 'counter')}" for each in families}
    expressions = " ".join(alert["expr"] for alert in alerts().values())
    named = set(re.findall(r"program_executor_\w+", expressions))
    assert named
    assert named <= known
