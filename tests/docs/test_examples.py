"""The documentation is true: its code runs, its links lead somewhere, its lists are complete."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from program_executor.testing import ProgramRunner
from program_service.api.problems import CODES
from program_service.telemetry import Event, Metrics

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CLAIM = re.compile(r"# (\S+/\S+\.py)\n")
PROBLEM = re.compile(r"Problem\(\s*\d+,\s*\"(\w+)\"")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of Python on a page; `file` is where it claims to stand."""

    page: Path
    line: int
    code: str
    file: Path | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1] != "python":
                continue
            claim = CLAIM.match(match[2])
            code = match[2][claim.end() :] if claim else match[2]
            line = text.count("\n", 0, match.start()) + 1
            yield Block(page, line, code, ROOT / claim[1] if claim else None)


def quotes() -> list[Block]:
    return [block for block in blocks() if block.file]


def snippets() -> list[Block]:
    return [block for block in blocks() if not block.file]


def links() -> list[tuple[Path, str]]:
    return [
        (page, target)
        for page in PAGES
        for target in LINK.findall(FENCE.sub("", page.read_text()))
        if "://" not in target
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_examples_pass_their_own_tests() -> None:
    command = [sys.executable, "-m", "pytest", "shop", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("quote", quotes(), ids=str)
def test_quoted_code_stands_in_its_file(quote: Block) -> None:
    assert quote.file is not None
    assert quote.code in quote.file.read_text()


@pytest.mark.parametrize("snippet", snippets(), ids=str)
def test_code_runs(snippet: Block) -> None:
    exec(compile(snippet.code, str(snippet), "exec"), {"__name__": "snippet"})


def test_program_of_the_readme_finishes(program_runner: ProgramRunner) -> None:
    code = next(block.code for block in blocks() if block.page.name == "README.md")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    run = program_runner.run([names["charge"], names["mail"]], program_data={"customer": 42})
    assert run.status == "finished"
    assert run.job_data == {"charge": {"receipt": "r-42"}, "mail": {"text": "Thank you! r-42"}}


@pytest.mark.parametrize(
    ("page", "target"), links(), ids=[f"{page.name}:{target}" for page, target in links()]
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    assert place.exists()
    if anchor:
        assert anchor in anchors(place)


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs/operate.md").read_text()
    names = [
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in Metrics().registry.collect()
    ]
    short = {name.removeprefix("program_executor_") for name in names}
    table = text.partition("## Metrics")[2].partition("## Logs")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == short


def test_every_log_event_is_documented() -> None:
    text = (ROOT / "docs/operate.md").read_text()
    assert [event.value for event in Event if f"`{event.value}`" not in text] == []


def test_every_error_code_is_documented() -> None:
    text = (ROOT / "docs/http.md").read_text()
    sources = (ROOT / "service/program_service/api").glob("*.py")
    raised = {code for source in sources for code in PROBLEM.findall(source.read_text())}
    known = {code for _, code in CODES.values()} | raised
    assert sorted(code for code in known if f"`{code}`" not in text) == []
