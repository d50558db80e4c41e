"""Pages of the documentation, as readers go through them: text, commands, files, what is shown."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHELL = "sh"

FENCE = re.compile(r"^ {0,3}```([\w-]*)\n(.*?)^ {0,3}```$", re.MULTILINE | re.DOTALL)
"""Blocks of a list stand as far in as its text."""
INDENTED = re.compile(r"(?:^|\n\n)((?: {4}.*\n|\n)+)")
WRITTEN = re.compile(r"^Write `([\w./-]+\.\w+)`.*:$")
"""How a sentence before a block of code goes, when the reader is to write that file."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a page; `language` is "" for text, "output" for what a command shows."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class File:
    """A file that the reader is told to write."""

    name: str
    text: str


def pages() -> list[str]:
    """Return the paths of all pages that tell people what to type."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found += [*(ROOT / "examples").rglob("README.md"), *(ROOT / "helm").rglob("README.md")]
    paths = (page.relative_to(ROOT).as_posix() for page in found)
    return sorted(path for path in paths if "node_modules" not in path)


def pieces(page: str) -> Iterator[Piece]:
    """Take a page apart, in order."""
    text, end = (ROOT / page).read_text(), 0
    for block in FENCE.finditer(text):
        yield from _between(page, text, end, block.start())
        language = block[1] or "output"
        line = text.count("\n", 0, block.start()) + 1
        yield Piece(page, line, language, textwrap.dedent(block[2]))
        end = block.end()
    yield from _between(page, text, end, len(text))


def _between(page: str, text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield the text between two fences, and the indented blocks in it."""
    for block in INDENTED.finditer(text, start, end):
        if block[1].strip():
            yield _text(page, text, start, block.start(1))
            shown = re.sub(r"^ {4}", "", block[1].strip("\n"), flags=re.MULTILINE)
            yield Piece(page, text.count("\n", 0, block.start(1)) + 1, "output", shown)
            start = block.end(1)
    yield _text(page, text, start, end)


def _text(page: str, text: str, start: int, end: int) -> Piece:
    return Piece(page, text.count("\n", 0, start) + 1, "", text[start:end].strip())


def blocks_of_commands() -> list[Piece]:
    """Return every block of commands of the documentation."""
    return [piece for page in pages() for piece in pieces(page) if piece.language == SHELL]


def file_of(before: Piece | None, block: Piece) -> File | None:
    """Return the file that the text before a block tells to write."""
    if before is None or before.language != "" or block.language in {SHELL, "output"}:
        return None
    sentence = before.text.rpartition("\n\n")[2].replace("\n", " ")
    name = WRITTEN.match(sentence)
    return File(name[1], block.text) if name else None


def commands(block: str) -> list[str]:
    """Split a block as the shell does: a command may go over several lines."""
    found, lines = [], ""
    for line in block.splitlines(keepends=True):
        lines += line
        if not line.rstrip("\n").endswith("\\") and _is_whole(lines):
            found.append(lines.strip())
            lines = ""
    assert not lines.strip(), f"no whole command: {lines}"
    return [command for command in found if command and not command.startswith("#")]


def _is_whole(lines: str) -> bool:
    read = subprocess.run(
        ["bash", "-n"], input=lines, capture_output=True, text=True, check=False, timeout=30
    )
    return read.returncode == 0 and not read.stderr
