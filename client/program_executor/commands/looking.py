"""Looking: which programs there are, and how one came to be where it is."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from program_executor.commands.asking import MANY_TRIES, AsJson, Service, chosen_service
from program_executor.commands.completing import RunId
from program_executor.commands.composing import takes
from program_executor.commands.printing import (
    ATTEMPT_COLUMNS,
    PROGRAM_COLUMNS,
    attempt_rows,
    echo,
    echo_block,
    print_json,
    print_json_list,
    print_rows,
    program_line,
    program_row,
    table,
    terminal,
)
from program_executor.commands.selecting import chosen_filters
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_executor.client import Client
    from program_executor.shapes import Attempt, Filters, ListedProgram, Program

MAX_PAGE = 200
LEFT_BESIDE_ROWS = 3
"""Lines of a live table that are not rows: its head, and room for the cursor."""

Order: TypeAlias = Literal["newest", "oldest"]


@takes(service=chosen_service, filters=chosen_filters)
def list_programs(
    service: Service,
    filters: "Filters",
    *,
    order: Annotated[Order, typer.Option(help="Which come first.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    all_: Annotated[bool, typer.Option("--all", help="All of them, page after page.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Look again and again.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="How often, in seconds.")] = 2.0,
    has_data: Annotated[bool, typer.Option("--data", help="With their data, for --json.")] = False,
    as_json: AsJson = False,
) -> None:
    """List programs, newest first: a table on a terminal, lines with tabs in a pipe.

    The columns: run_id, status, steps done, current job, age, retries of the step, error.
    """
    wanted: Filters = {**filters, "order": order}
    if has_data:
        wanted["include"] = "data"
    if live:
        if as_json or all_:
            raise UsageError("--live shows as many as fit the terminal: leave --json and --all out")
        _list_live(service, wanted, every_s=every)
        return
    with service.client() as client:
        found = _walk(client, wanted, most=None if all_ else limit)
        if as_json:
            print_json_list(found)
        else:
            print_rows(PROGRAM_COLUMNS, map(program_row, found))


def _walk(client: "Client", filters: "Filters", *, most: int | None) -> "Iterator[ListedProgram]":
    page: Filters = {**filters, "limit": MAX_PAGE if most is None else min(most, MAX_PAGE)}
    return islice(client.programs(**page), most)


def _list_live(service: Service, filters: "Filters", *, every_s: float) -> None:
    from rich.live import Live

    console = terminal()
    if console is None:
        raise UsageError("--live needs a terminal; `watch -n 2 program-executor list` is like it")
    with (
        service.client(tries=MANY_TRIES) as client,
        Live(console=console, auto_refresh=False, screen=True) as drawn,
    ):
        while True:
            room = max(1, console.height - LEFT_BESIDE_ROWS)
            programs = _walk(client, filters, most=room)
            drawn.update(table(PROGRAM_COLUMNS, map(program_row, programs)), refresh=True)
            time.sleep(every_s)


@takes(service=chosen_service)
def show(service: Service, run_id: RunId, *, as_json: AsJson = False) -> None:
    """Show a program, why it is where it is, its tries, and the last one's log and traceback."""
    with service.client() as client:
        program, page = client.get(run_id), client.attempt_page(run_id, order="newest")
        explanation = client.explain(run_id)
    attempts = page["attempts"][::-1]
    if as_json:
        print_json({"program": program, "attempts": attempts, "explanation": explanation})
        return
    echo(program_line(program))
    echo(explanation["text"])
    for name, value in _facts(program):
        echo(f"  {name:<12} {value}")
    if page["next_cursor"]:
        echo(f"The last {len(attempts)} tries; `program-executor attempts --all` has all:")
    print_rows(ATTEMPT_COLUMNS, attempt_rows(attempts))
    _print_traces(attempts[-1:])


def _facts(program: "Program") -> Iterator[tuple[str, str]]:
    """Return what else is worth knowing of a program, in the order of its life."""
    yield "jobs", ", ".join(program["jobs"])
    yield "submitted", f"{program['created_at']} by {program['submitted_by'] or 'anybody'}"
    if program["labels"]:
        yield "labels", ", ".join(f"{key}={value}" for key, value in program["labels"].items())
    if program["parent_run_id"]:
        yield "started by", program["parent_run_id"]
    if program["resumes"]:
        yield "resumed", f"{program['resumes']} times"
    if program["due_at"] and program["status"] in {"scheduled", "retrying", "waiting"}:
        yield "due", program["due_at"]
    ended = program["finished_at"] or program["errored_at"]
    if ended:
        yield "ended", ended


def _print_traces(attempts: "list[Attempt]") -> None:
    """Print what tries have left: the last lines of their logs, and tracebacks."""
    for each in attempts:
        if each["log"] or each["traceback"]:
            echo()
            echo(f"step {each['step']} {each['job']}, try {each['attempt']}:")
        for line in each["log"]:
            fields = "".join(f" {name}={value}" for name, value in line["fields"].items())
            first, *more = f"{line['text']}{fields}".split("\n")
            echo(f"{line['at']} {line['level']:<8} {first}")
            if more:
                echo_block("\n".join(more), indentation="    ")
        if each["traceback"]:
            echo_block(each["traceback"].rstrip(), indentation="  ")


@takes(service=chosen_service)
def attempts(
    service: Service,
    run_id: RunId,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most: the last ones.")] = 200,
    all_: Annotated[bool, typer.Option("--all", help="All of them, page after page.")] = False,
    as_json: AsJson = False,
) -> None:
    """List every try of every step, with the last lines that it logged and its traceback."""
    with service.client() as client:
        found = client.attempts(run_id) if all_ else iter(_last(client, run_id, limit))
        if as_json:
            print_json_list(found)
            return
        while some := list(islice(found, MAX_PAGE)):
            print_rows(ATTEMPT_COLUMNS, attempt_rows(some))
            _print_traces(some)


def _last(client: "Client", run_id: str, most: int) -> "list[Attempt]":
    page = client.attempts(run_id, order="newest", limit=min(most, MAX_PAGE))
    return list(islice(page, most))[::-1]


@takes(service=chosen_service)
def explain(service: Service, run_id: RunId, *, as_json: AsJson = False) -> None:
    """Say why a program is not moving, and when it will."""
    with service.client() as client:
        explanation = client.explain(run_id)
    if as_json:
        print_json(explanation)
        return
    echo(explanation["text"])
    if explanation["moves_at"]:
        echo(f"It is expected to move at {explanation['moves_at']}.")
