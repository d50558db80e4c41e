"""The documentation is true: its code runs, its links lead somewhere, its lists are complete."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doc_pages import FENCE, ROOT, pieces
from program_executor import AsyncClient, Job
from program_executor.testing import ProgramRunner
from program_service.api.problems import CODES
from program_service.api.queries import ProgramQuery
from program_service.api.schemas import ProgramRequest
from program_service.bookkeeping.tables import Tables
from program_service.settings import PREFIX, Settings

EXAMPLES = ROOT / "examples"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CLAIM = re.compile(r"# (\S+/\S+\.py)\n")
SETTING = re.compile(r"`([A-Z][A-Z_]{3,})`")
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
        for piece in pieces(page.relative_to(ROOT).as_posix()):
            if piece.language != "python":
                continue
            claim = CLAIM.match(piece.text)
            code = piece.text[claim.end() :] if claim else piece.text
            yield Block(page, piece.line, code, ROOT / claim[1] if claim else None)


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


def names_of(page: str) -> dict[str, Any]:
    """Run the code of a page, all of it in one module, and return its names."""
    names: dict[str, Any] = {"__name__": "snippet"}
    for snippet in snippets():
        if snippet.page.name == page:
            exec(compile(snippet.code, str(snippet), "exec"), names)
    return names


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


def test_class_of_the_node_page_goes_on_from_its_page(program_runner: ProgramRunner) -> None:
    names = names_of("moving-from-node.md")
    pages: list[int] = []

    async def read_page(_shop: str, page: int) -> list[str]:
        pages.append(page)
        if pages == [0, 1]:
            raise ConnectionError
        return ["Ada"] if page < 3 else []

    names["read_page"] = read_page
    run = program_runner.run([names["ImportCustomers"]], program_data={"shop": "eu"})
    assert [attempt.outcome for attempt in run.attempts] == ["retry", "done"]
    assert pages == [0, 1, 1, 2, 3]
    assert run.job_data == {"import_customers": {"page": 3}}


def test_order_of_the_celery_page_is_mailed_when_the_mailbox_has_room(
    program_runner: ProgramRunner,
) -> None:
    names = names_of("moving-from-celery.md")
    sent: list[str] = []

    async def send(address: str, text: str) -> None:
        sent.append(f"{address}: {text}")
        if len(sent) == 1:
            raise names["MailboxFull"]

    names["send"] = send
    jobs = [names["charge"], names["invoice"], names["mail"]]
    order = {"card": "4242", "cents": 1999, "email": "ada@example.org"}
    run = program_runner.run(jobs, program_data=order)
    assert [attempt.outcome for attempt in run.attempts] == ["done", "done", "retry", "done"]
    assert run.waited >= timedelta(hours=1)
    assert sent[1] == f"ada@example.org: Paid, r-{run.program.run_id}-0"


def test_join_of_the_limits_page_waits_for_its_children(program_runner: ProgramRunner) -> None:
    names = names_of("limits.md")
    asked: list[str] = []

    class Service(AsyncClient):
        async def get(self, run_id: str, *, wait_s: float = 0) -> Any:
            del wait_s
            asked.append(run_id)
            return {"status": "running" if len(asked) == 1 else "finished"}

    names["AsyncClient"] = Service
    resize = Job("resize", lambda _ctx: None)
    jobs = [names["resize_all"], names["join"]]
    run = program_runner.run(jobs, program_data={"images": ["a", "b"]}, others=[resize])
    assert run.status == "finished"
    assert run.waited >= timedelta(seconds=30)
    assert {child.run_id for child in run.started} == set(asked)


def test_undoing_of_the_limits_page_starts_a_refund(program_runner: ProgramRunner) -> None:
    reserve = names_of("limits.md")["reserve_article"]
    refund = Job("refund", lambda _ctx: None)
    run = program_runner.run([reserve], program_data={"article": "mug"}, others=[refund])
    assert run.status == "errored"
    assert [list(child.jobs) for child in run.started] == [["refund"]]


def test_node_page_tells_of_every_column() -> None:
    text = (ROOT / "docs/moving-from-node.md").read_text()
    table = text.partition("\n## Columns")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(Tables.named("programs").programs.columns.keys())


@pytest.mark.parametrize("page", ["limits.md", "moving-from-node.md"])
def test_settings_on_a_page_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text().replace(PREFIX, "")
    named = set(SETTING.findall(text))
    known = {name.upper() for name in Settings.model_fields}
    assert sorted(named - known) == []


@pytest.mark.parametrize(
    ("page", "target"), links(), ids=[f"{page.name}:{target}" for page, target in links()]
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    assert place.exists()
    if anchor:
        assert anchor in anchors(place)


def test_every_error_code_is_documented() -> None:
    text = (ROOT / "docs/http.md").read_text()
    sources = (ROOT / "service/program_service/api").glob("*.py")
    raised = {code for source in sources for code in PROBLEM.findall(source.read_text())}
    known = {code for _, code in CODES.values()} | raised
    assert sorted(code for code in known if f"`{code}`" not in text) == []


def test_every_field_filter_and_reason_is_documented() -> None:
    text = (ROOT / "docs/http.md").read_text()
    explaining = (ROOT / "service/program_service/api/explain.py").read_text()
    reasons = set(re.findall(r'(?:return|^ +) ?"([a-z_]+)",', explaining, re.MULTILINE))
    assert {"not_due", "cancelled", "queued"} <= reasons
    for name in reasons | set(ProgramRequest.model_fields):
        assert f"`{name}`" in text, name
    for name in ProgramQuery.model_fields:
        assert f"`{name}`" in text or f"`{name}=" in text, name
