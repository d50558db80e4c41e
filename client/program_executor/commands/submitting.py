"""Submitting: programs from the command line, or from files of JSON."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands.asking import MANY_TRIES, AsJson, Service, chosen_service
from program_executor.commands.completing import job_names
from program_executor.commands.composing import takes
from program_executor.commands.printing import echo, echo_lines, print_json, program_line
from program_executor.commands.watching import require_finished
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from program_executor.shapes import Program

STANDARD_INPUT = "-"


@takes(service=chosen_service)
def submit(
    service: Service,
    jobs: Annotated[
        list[str],
        typer.Argument(
            help="Job names in order; or one file of JSON, or - for the standard input.",
            autocompletion=job_names,
            show_default=False,
        ),
    ],
    *,
    data: Annotated[str | None, typer.Option(help="program_data, as JSON.")] = None,
    job_data: Annotated[
        str | None, typer.Option(help="job_data, as JSON: {job: {…}}.", show_default=False)
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label, as key=value.")] = None,
    start_at: Annotated[
        str | None, typer.Option(help="Not before: 2027-01-31T08:00Z.", show_default=False)
    ] = None,
    notify: Annotated[
        str | None, typer.Option(help="An address that is told of the end.", show_default=False)
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="The same key answers the same program.", show_default=False),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a program; with --wait the exit code is 0 only if it finishes.

    A file holds {"jobs": […], "program_data": {…}, …}, or a list of names, or
    {"programs": […]}: up to 1,000 programs, accepted together or not at all.
    """
    options = {
        "program_data": read_json(data, "--data") if data else None,
        "job_data": read_json(job_data, "--job-data") if job_data else None,
        "labels": dict(map(_label, label)) if label else None,
        "start_at": start_at,
        "notify": notify,
    }
    given = {name: value for name, value in options.items() if value is not None}
    body = _body(jobs) | given
    if "programs" in body:
        _submit_batch(service, body, wait=wait, as_json=as_json)
        return
    names = body.pop("jobs")
    with service.client() as client:
        # fields that nobody knows are sent, too: the service says what was meant by them
        program = client.submit(names, idempotency_key=idempotency_key, **body)
    if wait:
        (program,) = _ended(service, [program["run_id"]])
    print_json(program) if as_json else echo(program_line(program))
    if wait:
        require_finished(program)


def _submit_batch(service: Service, body: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    programs = body["programs"]
    if len(body) > 1 or not isinstance(programs, list) or not all(map(_is_object, programs)):
        raise UsageError('{"programs": […]} stands alone; give data and labels to each program')
    with service.client() as client:
        run_ids = client.submit_batch(programs)
    if not wait:
        print_json(run_ids) if as_json else echo_lines(run_ids)
        return
    ended = _ended(service, run_ids)
    print_json(ended) if as_json else echo_lines(map(program_line, ended))
    for program in ended:
        require_finished(program)


def _ended(service: Service, run_ids: "Sequence[str]") -> "list[Program]":
    """Wait until programs have ended, also over a restart of the service."""
    with service.client(tries=MANY_TRIES) as client:
        return [client.wait(run_id) for run_id in run_ids]


def _body(jobs: list[str]) -> dict[str, Any]:
    """Return a submission from names, or from the file that holds one."""
    first = jobs[0]
    if first != STANDARD_INPUT and not first.endswith(".json"):
        return {"jobs": jobs}
    if len(jobs) > 1:
        message = f"{first} is a file: give it alone, or names of jobs"
        raise UsageError(message)
    body = read_json_file(first)
    if isinstance(body, list):
        body = {"jobs": body}
    if not _is_object(body) or ("programs" not in body and not isinstance(body.get("jobs"), list)):
        message = f'{first} must hold {{"jobs": […]}}, {{"programs": […]}} or a list of names'
        raise UsageError(message)
    found: dict[str, Any] = body
    return found


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        message = f"--label {text}: a label is key=value"
        raise UsageError(message)
    return name, value


def read_json(text: str, what: str) -> Any:
    """Read JSON that somebody has typed.

    Raises:
        UsageError: it is none, or holds what cannot be stored.
    """
    return _parsed(text.encode("utf-8", "surrogateescape"), what)


def read_json_file(path: str, *, what: str | None = None) -> Any:
    """Read JSON from a file, or from the standard input, as `read_json` does."""
    is_file = path != STANDARD_INPUT
    content = Path(path).read_bytes() if is_file else sys.stdin.buffer.read()
    return _parsed(content, what or path)


def _parsed(content: bytes, what: str) -> Any:
    from program_service.bookkeeping.parsing import parse
    from program_service.bookkeeping.unstorable import NotStorable

    try:
        return parse(content, what=what)
    except NotStorable as error:
        raise UsageError(str(error)) from error
