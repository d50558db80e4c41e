"""Commands that talk to a service: submit, watch, list, show, cancel, resume, jobs, workers."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.shapes import Status

if TYPE_CHECKING:
    from program_executor.client import Client
    from program_executor.shapes import Program

Url = Annotated[
    str, typer.Option(envvar="PROGRAM_EXECUTOR_URL", help="The address of the service.")
]
Key = Annotated[str | None, typer.Option(envvar="PROGRAM_EXECUTOR_KEY", help="An API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(help="The program's run_id.", show_default=False)]
LOCAL = "http://127.0.0.1:8080"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, watch, show, cancel, resume, jobs, workers):
        app.command()(command)
    app.command("list")(list_programs)


@contextmanager
def _client(url: str, key: str | None) -> "Iterator[Client]":
    from program_executor.client import Client

    with Client(url, key=key) as client:
        yield client


def submit(
    jobs: Annotated[list[str], typer.Argument(help="Job names in order, or one JSON file.")],
    *,
    data: Annotated[str, typer.Option(help="program_data, as JSON.")] = "{}",
    label: Annotated[list[str] | None, typer.Option(help="A label, as key=value.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Submit a program; with --wait the exit code is 0 only if it finishes."""
    body = _body(jobs, data, label or [])
    with _client(url, key) as client:
        names = body.pop("jobs")
        program = client.submit(names, **body)
        if wait:
            program = client.wait(program["run_id"])
        _tell(program, as_json=as_json)
    if wait and program["status"] != "finished":
        raise typer.Exit(1)


def watch(run_id: RunId, *, url: Url = LOCAL, key: Key = None) -> None:
    """Follow a program until it has ended, a line for each change."""
    from program_executor.shapes import FINAL

    with _client(url, key) as client:
        program, seen = client.get(run_id), ""
        while True:
            line = _line(program)
            if line != seen:
                typer.echo(line)
                seen = line
            if program["status"] in FINAL:
                break
            program = client.get(run_id, wait_s=1)
    if program["status"] != "finished":
        raise typer.Exit(1)


def show(run_id: RunId, *, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """Show a program, its attempts, and why it is where it is."""
    with _client(url, key) as client:
        program, attempts = client.get(run_id), client.attempts(run_id)
        explanation = client.explain(run_id)
    if as_json:
        _print_json({"program": program, "attempts": attempts, "explanation": explanation})
        return
    _tell(program, as_json=False)
    typer.echo(explanation["text"])
    for attempt in attempts:
        error = f"  {attempt['error_message']}" if attempt["error_message"] else ""
        typer.echo(
            f"  step {attempt['step']} {attempt['job']} try {attempt['attempt']}:"
            f" {attempt['outcome']} on {attempt['worker']}{error}"
        )


def list_programs(
    *,
    status: Annotated[Status | None, typer.Option(help="Only of this status.")] = None,
    job: Annotated[str | None, typer.Option(help="Only at this job.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label, as key:value.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """List the newest programs."""
    with _client(url, key) as client:
        page = client.page(status=status, job=job, label=label, limit=limit)
    if as_json:
        _print_json(page["programs"])
        return
    for program in page["programs"]:
        typer.echo(_line(program))


def cancel(run_id: RunId, *, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """Cancel a program, also one that runs."""
    with _client(url, key) as client:
        _tell(client.cancel(run_id), as_json=as_json)


def resume(
    run_id: RunId,
    *,
    from_step: Annotated[int | None, typer.Option(min=0, help="The step to go on from.")] = None,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Let an errored or cancelled program go on."""
    with _client(url, key) as client:
        _tell(client.resume(run_id, from_step=from_step), as_json=as_json)


def jobs(*, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """List the registered jobs, and who knows them."""
    with _client(url, key) as client:
        found = client.jobs()
    if as_json:
        _print_json(found)
        return
    for job in found:
        typer.echo(f"{job['name']}  queue {job['queue']}  {', '.join(job['workers']) or 'nobody'}")


def workers(*, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """List the live workers."""
    with _client(url, key) as client:
        found = client.workers()
    if as_json:
        _print_json(found)
        return
    for worker in found:
        queues = ", ".join(worker["queues"])
        typer.echo(f"{worker['name']}  {worker['busy']}/{worker['slots']} busy  queues {queues}")


def _body(jobs: list[str], data: str, labels: list[str]) -> dict[str, Any]:
    """Return a submission from names, or from a JSON file that holds one."""
    if len(jobs) == 1 and jobs[0].endswith(".json"):
        text = sys.stdin.read() if jobs[0] == "-.json" else Path(jobs[0]).read_text()
        body = _json(text, f"the file {jobs[0]}")
        if isinstance(body, list):
            body = {"jobs": body}
        if not isinstance(body, dict) or "jobs" not in body:
            message = f'{jobs[0]} must hold {{"jobs": […]}}, or a list of names'
            raise typer.BadParameter(message)
        return body
    pairs = [label.partition("=") for label in labels]
    if any(not equals for _, equals, _ in pairs):
        raise typer.BadParameter("a label is key=value")
    named = {name: value for name, _, value in pairs}
    return {"jobs": jobs, "program_data": _json(data, "--data"), "labels": named}


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{what} is not JSON: {error}"
        raise typer.BadParameter(message) from error


def _tell(program: "Program", *, as_json: bool) -> None:
    if as_json:
        _print_json(program)
    else:
        typer.echo(_line(program))


def _line(program: "Program") -> str:
    done = program["progress"]
    at = f" at {program['current_job']}" if program["current_job"] else ""
    error = f": {program['error_message']}" if program["error_message"] else ""
    status = program["status"]
    return f"{program['run_id']}  {status:<9} {done['done']}/{done['total']}{at}{error}"


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
