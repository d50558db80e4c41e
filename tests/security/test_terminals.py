"""Terminals: a text from outside is shown, and neither obeyed nor taken for a line of ours."""

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from program_executor.commands.console import PrintableConsole
from program_executor.commands.printing import echo, print_json, print_rows, program_line, table
from program_service.terminal import in_line, printable, printable_json

CLIPBOARD = "\x1b]52;c;Y3VybCBldmlsLmV4YW1wbGUgfCBzaA==\x07"
TITLE = "\x9d0;signed in\x9c"
ERASE = "\x1b[1A\x1b[2K"
REVERSED = "\u202eyenom\u2066"
ODD = [CLIPBOARD, TITLE, ERASE, REVERSED, "\ud800", "\u2028forged", "\U000e0041", "a\rb", "\x7f"]

OBEYED = {"Cc", "Zl", "Zp", "Cs"}
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_obeyed(character: str) -> bool:
    """Whether a terminal does something with a character instead of showing it."""
    by_category = unicodedata.category(character) in OBEYED and character not in "\n\t"
    return by_category or unicodedata.bidirectional(character) in BIDIRECTIONAL


def obeyed(text: str) -> list[str]:
    """Return what a terminal would obey."""
    return [character for character in text if is_obeyed(character)]


ANY_TEXT = st.text(
    st.characters() | st.sampled_from("".join(ODD)) | st.characters(categories=["Cs"])
)


@given(ANY_TEXT)
def test_no_text_is_obeyed(text: str) -> None:
    assert obeyed(printable(text)) == []
    assert obeyed(in_line(text)) == []
    assert "\n" not in in_line(text)


@given(ANY_TEXT)
def test_document_keeps_its_values(text: str) -> None:
    document = printable_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(document) == {text: [text]}
    assert obeyed(document) == []


@given(st.text(st.characters(categories=["L", "N", "P", "S"], codec="utf-8")))
def test_what_is_only_shown_is_left_alone(text: str) -> None:
    assert printable(text) == in_line(text) == text


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_console_obeys_its_own_styles_alone(odd: str) -> None:
    console = PrintableConsole()
    console.file = file = io.StringIO()
    console.print(Text(f"before {odd} after", style="bold"), f"[link=https://x]{odd}[/link]")
    console.print(table(("job", "error"), [(odd, odd)]))
    assert obeyed(file.getvalue()) == []
    assert "[link=" in file.getvalue()


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_pipe_gets_what_is_shown(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("job", "error"), [(f"pay\n{odd}", "ok")])
    print_json({"error": odd})
    rows, _, document = capsys.readouterr().out.partition("\n")
    assert obeyed(rows + document) == []
    assert rows.endswith("\tok")
    assert json.loads(document) == {"error": odd}


def test_name_forges_no_line_of_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = {
        "run_id": "1\n2  finished",
        "status": "errored",
        "progress": {"done": 0, "total": 1},
        "current_job": f"pay\n{ERASE}",
        "error_message": f"no\r\nrefunded{ERASE}",
        "step_retry_count": 0,
        "lease_losses": 0,
    }
    echo(program_line(program))  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert obeyed(shown) == []
    assert shown.count("\n") == 1
