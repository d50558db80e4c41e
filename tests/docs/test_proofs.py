"""Proofs: each test that the page on reliability names is there, and says what the page says."""

import re

from doc_pages import ROOT

PAGE = ROOT / "docs" / "reliability.md"
SECTION = "## What one of them can do to the others\n"
PARTIES = [
    "program",
    "row",
    "message",
    "endpoint",
    "receiver of notifications",
    "module with jobs",
    "worker",
    "service",
    "broker",
    "database",
]
NAMED = re.compile(r"((?:`test_\w+`(?:, )?)*)(?: in )?\[(test_\w+)\]\((\.\./tests/[\w/]+\.py)\)")


def section() -> str:
    """Return what one of them can do to the others."""
    return PAGE.read_text().partition(SECTION)[2].partition("\n## ")[0]


def test_every_party_is_spoken_of() -> None:
    found = re.findall(r"^### (?:A|An|The) (.+)$", section(), re.MULTILINE)
    assert found == PARTIES


def test_every_line_names_a_test_that_is_there() -> None:
    lines = [line for line in section().splitlines() if line.startswith("| ") and line != "| | | |"]
    assert len(lines) > 3 * len(PARTIES)
    for line in lines:
        named = NAMED.findall(line.rpartition(" | ")[2])
        assert named, line
        for names, title, path in named:
            text = (PAGE.parent / path).read_text()
            assert title in path
            for name in re.findall(r"`(\w+)`", names):
                assert f"def {name}(" in text, (name, path)
