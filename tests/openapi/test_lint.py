"""Lint: Spectral finds nothing in the document, not even what it only warns of."""

import json
from pathlib import Path
from typing import Any

import pytest

from node_tools import node_tools, run

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # npm may have to install first


def test_spectral_finds_nothing() -> None:
    assert _found(ROOT / "openapi" / "program-executor.json") == []


def test_spectral_finds_what_is_missing(document: dict[str, Any], tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(document))
    del wrong["paths"]["/programs"]["get"]["operationId"]
    wrong["components"]["examples"]["invalid"]["value"]["status"] = "many"
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(wrong))
    assert {"operation-operationId", "oas3-valid-media-example"} <= set(_found(file))


def _found(file: Path) -> list[str]:
    """Return the names of the rules that a document breaks, and print where."""
    spectral = node_tools() / "node_modules" / ".bin" / "spectral"
    rules = f"--ruleset={ROOT / 'openapi' / '.spectral.yaml'}"
    words = [str(spectral), "lint", "--quiet", "--format=json", rules, str(file)]
    findings = json.loads(run(words, cwd=ROOT, may_exit=(0, 1)) or "[]")
    for each in findings:
        print(each["code"], ".".join(map(str, each["path"])), each["message"])
    return [each["code"] for each in findings]
