"""Printing: tables for terminals, lines with tabs for pipes, JSON for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING, Any

import typer

from program_executor.commands.moments import age, duration, seconds_between

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from program_executor.shapes import Attempt, ListedProgram, Program, Status

COLOURS: "dict[Status, str]" = {
    "finished": "green",
    "errored": "red",
    "cancelled": "magenta",
    "retrying": "yellow",
    "running": "cyan",
    "waiting": "blue",
}

PROGRAM_COLUMNS = ("run_id", "status", "done", "job", "age", "retry", "error")


def in_line(text: str) -> str:
    """Return a text as a part of one line, without anything that a terminal obeys."""
    from program_service import terminal as rules

    return rules.in_line(text)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a line, whatever text from outside is in it."""
    typer.echo(in_line(text), err=err)


def echo_lines(texts: Iterable[str]) -> None:
    """Print texts, each on a line of its own."""
    for text in texts:
        echo(text)


def echo_block(text: str, *, indentation: str = "") -> None:
    """Print lines; with an indentation, none of them can be taken for a line of ours."""
    from program_service.terminal import printable

    typer.echo(indent(printable(text), indentation, lambda _line: True))


def echo_document(text: str) -> None:
    """Print a document of our own, as it is."""
    typer.echo(text, nl=False)


def print_json(value: Any) -> None:
    """Print a value for people and programs."""
    typer.echo(_as_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print a value on a line of its own."""
    typer.echo(_as_json(value))


def _as_json(value: Any, **layout: Any) -> str:
    from program_service.terminal import printable_json

    return printable_json(json.dumps(value, ensure_ascii=False, **layout))


def print_json_list(values: Iterable[Any]) -> None:
    """Print a list as its values come: there may be more than fit into memory."""
    before = "["
    for value in values:
        typer.echo(f"{before}\n{_as_json(value)}", nl=False)
        before = ","
    typer.echo("\n]" if before == "," else "[]")


def terminal() -> "Console | None":
    """Return the terminal that is written to; None for a pipe or a file."""
    from program_executor.commands.console import PrintableConsole

    console = PrintableConsole()
    return console if console.is_terminal and not console.is_dumb_terminal else None


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: as a table that fits the terminal, or whole, with tabs between their values."""
    console = terminal()
    if console is not None:
        console.print(table(columns, rows))
        return
    for row in rows:
        typer.echo("\t".join(" ".join(in_line(value).split()) for value in row))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "RenderableType":
    """Draw rows; the last column is cut at the edge."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="dim", padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns[:-1]:
        drawn.add_column(name, no_wrap=True)
    # of a table that is too wide, columns that may wrap are made narrower, and this one alone may
    drawn.add_column(columns[-1])
    for row in rows:
        cells = [Text(in_line(value), style=_style(value)) for value in row[:-1]]
        last = Text(" ".join(row[-1].split()), no_wrap=True, overflow="ellipsis")
        drawn.add_row(*cells, last)
    return drawn


def _style(value: str) -> str:
    return next((colour for status, colour in COLOURS.items() if status == value), "")


def program_row(program: "ListedProgram") -> tuple[str, ...]:
    """Return what a list shows of a program."""
    done, age_s = program["progress"], seconds_between(program["created_at"], datetime.now(UTC))
    return (
        program["run_id"],
        program["status"],
        f"{done['done']}/{done['total']}",
        program["current_job"] or "",
        age(age_s),
        str(program["step_retry_count"]),
        current_error(program),
    )


def current_error(program: "Program | ListedProgram") -> str:
    """Return a program's last error, while it matters: not that of a step which is done since."""
    has_failed = program["step_retry_count"] > 0 or program["lease_losses"] > 0
    matters = program["status"] in {"errored", "cancelled"} or (
        has_failed and program["status"] != "finished"
    )
    return (program["error_message"] or "") if matters else ""


def program_line(program: "Program | ListedProgram") -> str:
    """Say in a line where a program stands."""
    done = program["progress"]
    at = f" at {program['current_job']}" if program["current_job"] else ""
    error = f": {' '.join(text.split())}" if (text := current_error(program)) else ""
    status = program["status"]
    return f"{program['run_id']}  {status:<9} {done['done']}/{done['total']}{at}{error}"


def attempt_rows(attempts: "Iterable[Attempt]") -> Iterator[tuple[str, ...]]:
    """Return what a list shows of tries."""
    for each in attempts:
        yield (
            str(each["step"]),
            each["job"],
            str(each["attempt"]),
            each["outcome"],
            duration(try_s(each)) if each["started_at"] else "",
            each["finished_at"],
            each["worker"] or "",
            each["error_message"] or "",
        )


ATTEMPT_COLUMNS = ("step", "job", "try", "outcome", "took", "finished", "worker", "error")


def try_s(attempt: "Attempt") -> float:
    """Return how long a try took; 0 for one whose worker was lost, and with it the beginning."""
    started = attempt["started_at"]
    if started is None:
        return 0.0
    return seconds_between(started, datetime.fromisoformat(attempt["finished_at"]))
