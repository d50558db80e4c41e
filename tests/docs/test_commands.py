"""Commands: whatever the documentation types, the command line and the Makefile know."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from doc_pages import ROOT, SHELL, Piece, pages, pieces
from program_executor.cli import app

COMMAND = re.compile(r"(?:^|[(;&|] *|\w=\S+ )program-executor ([^|)&;#`\n]+)", flags=re.MULTILINE)
"""Where a command begins, and not where something of others has our name."""

SPAN = re.compile(r"`(program-executor [^`\n]+)`")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")
EAGER = {"--help", "--install-completion"}
"""They do what they say as soon as they are read."""

NAMED = {"MissingParameter", "NoArgsIsHelpError"}
"""A command may be named in the text without what it needs."""

MAKEFILE = re.compile(r"^([a-z-]+):", re.MULTILINE)


def typed() -> list[tuple[str, str]]:
    """Return (where, what) for each command in a block or in the text."""
    found = [
        (str(piece), part)
        for page in pages()
        for piece in pieces(page)
        for part in _commands(piece)
    ]
    return sorted(set(found))


def _commands(piece: Piece) -> Iterator[str]:
    text = piece.text.replace("\\\n", " ")
    texts = [text] if piece.language == SHELL else SPAN.findall(text) if not piece.language else []
    for each in texts:
        yield from COMMAND.findall(each)


def complaint(words: list[str]) -> str:
    """Have the real command line read the words, and run nothing; return what it says of them."""
    if words[0] in EAGER:
        return ""
    try:
        parse(words)
    except Exception as error:  # noqa: BLE001 - typer keeps the classes of its errors to itself
        return "" if type(error).__name__ in NAMED else str(error)
    return ""


def parse(words: list[str]) -> None:
    """Go from command to command, as far as the words lead."""
    command: Any = typer.main.get_command(app)
    name, context = "program-executor", None
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, words, parent=context)
        words = [*context._protected_args, *context.args]
        if not words:
            return
        name, command, words = command.resolve_command(context, words)
    command.make_context(name, words, parent=context)


@pytest.mark.parametrize(("where", "what"), typed())
def test_command_line_knows_what_is_typed(where: str, what: str) -> None:
    assert complaint(shlex.split(what)) == "", where


@pytest.mark.parametrize("what", ["--no-such-option", "no-such-command", "dev --prot 1"])
def test_what_nobody_knows_would_be_noticed(what: str) -> None:
    assert "No such" in complaint(shlex.split(what))


def test_makefile_has_every_target_that_is_named() -> None:
    known = set(MAKEFILE.findall((ROOT / "Makefile").read_text()))
    named = {
        (str(piece), target)
        for page in pages()
        for piece in pieces(page)
        for text in ([piece.text] if piece.language == SHELL else re.findall("`[^`]+`", piece.text))
        for target in TARGET.findall(text)
    }
    assert sorted(each for each in named if each[1] not in known) == []
