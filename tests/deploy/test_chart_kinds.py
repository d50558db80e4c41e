"""The chart's objects of KEDA and the Prometheus operator, by the schemas of their own projects."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import VALUE_SETS, Manifest, Render
from endpoints.starting import installed, tool

pytestmark = pytest.mark.long

KINDS = Path(__file__).with_name("kinds")
GROUPS = ("keda.sh/", "monitoring.coreos.com/")
EXPECTED = {
    *("ScaledObject", "TriggerAuthentication"),
    *("ServiceMonitor", "PodMonitor", "PrometheusRule"),
}


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the schemas and the script that asks them."""
    return installed(KINDS, tmp_path_factory)


def complaints(validator: Path, manifests: list[Manifest]) -> dict[str, str]:
    """Return {kind/name: what is wrong with it} of those that are not valid."""
    run = subprocess.run(
        [tool("node"), "validate.js"],
        cwd=validator,
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    assert len(found) == len(manifests)
    return {each["name"]: each["error"] for each in found if each["error"]}


def foreign(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["apiVersion"].startswith(GROUPS)]


def test_every_object_is_valid_for_its_operator(validator: Path, render: Render) -> None:
    made = [each for values in VALUE_SETS.values() for each in foreign(render(values))]
    assert {each["kind"] for each in made} == EXPECTED
    assert complaints(validator, made) == {}


def test_wrong_objects_are_found(validator: Path, render: Render) -> None:
    made = foreign(render(VALUE_SETS["scaled"])) + foreign(render(VALUE_SETS["everything"]))
    wrong = [each | {"spec": "none"} for each in made]
    assert {name.partition("/")[0] for name in complaints(validator, wrong)} == EXPECTED
