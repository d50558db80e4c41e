"""Registry: the jobs that are known, callback jobs, and the workers that live."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands.asking import AsJson, Service, chosen_service
from program_executor.commands.completing import JobName
from program_executor.commands.composing import takes
from program_executor.commands.moments import duration, seconds_between
from program_executor.commands.printing import echo, print_json, print_rows
from program_executor.commands.submitting import read_json_file
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_executor.shapes import Job

JOB_COLUMNS = ("job", "kind", "queue", "workers", "calls")
WORKER_COLUMNS = ("worker", "process", "version", "busy", "up", "heard of", "queues", "jobs")


app = typer.Typer(help="Jobs that are known; HTTP endpoints that are called as jobs.")


@app.callback(invoke_without_command=True)
@takes(service=chosen_service)
def jobs(service: Service, context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the jobs that are known; more commands show, register and delete one."""
    if context.invoked_subcommand is None:
        _list_jobs(service, is_json=as_json)
        return
    for name in context.params:
        source = context.get_parameter_source(name)
        # a key or an address that is passed over in silence would be a trap
        if source is not None and source.name == "COMMANDLINE":
            message = f"--{name.removeprefix('as_')} stands after {context.invoked_subcommand!r}"
            raise UsageError(message)


@app.command("list")
@takes(service=chosen_service)
def list_jobs(service: Service, *, as_json: AsJson = False) -> None:
    """List the jobs that are known, and who runs them."""
    _list_jobs(service, is_json=as_json)


def _list_jobs(service: Service, *, is_json: bool) -> None:
    with service.client() as client:
        found = client.jobs()
    if is_json:
        print_json(found)
    else:
        print_rows(JOB_COLUMNS, map(_job_row, found))


def _job_row(job: "Job") -> tuple[str, ...]:
    workers = ", ".join(job["workers"]) or "nobody"
    disabled = f" (answered 410 at {job['disabled_at']}: disabled)" if job["disabled_at"] else ""
    return job["name"], job["kind"], job["queue"], workers, f"{job['url'] or ''}{disabled}"


@app.command("show")
@takes(service=chosen_service)
def show_job(service: Service, name: JobName, *, as_json: AsJson = False) -> None:
    """Show a job: its queue, time limit, retries, workers and endpoint."""
    with service.client() as client:
        job = client.job(name)
    _tell(job, is_json=as_json)


@app.command("put")
@takes(service=chosen_service)
def put_job(
    service: Service,
    name: JobName,
    *,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="The URL that is called.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A JSON file, as the body of PUT /jobs/NAME.", show_default=False),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="timeout_s, in seconds.", show_default=False)
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Whose workers call it.", show_default=False)
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="Tries of a step.", show_default=False)
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Calls at a time of a worker.", show_default=False)
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Signs the calls; made by the service if not given.", show_default=False),
    ] = None,
    cancel_url: Annotated[
        str | None, typer.Option(help="Told when a program is cancelled.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register an HTTP endpoint as a job, or change one; a secret that is made is shown once."""
    body: Any = read_json_file(str(file)) if file else {}
    if not isinstance(body, dict):
        message = f'{file} must hold a JSON object, {{"url": …}}'
        raise UsageError(message)
    options = {
        "url": endpoint,
        "timeout_s": timeout,
        "queue": queue,
        "max_concurrency": max_concurrency,
        "secret": secret,
        "cancel_url": cancel_url,
    }
    body |= {key: value for key, value in options.items() if value is not None}
    if max_attempts is not None:
        body["retry"] = {**body.get("retry", {}), "max_attempts": max_attempts}
    if "url" not in body:
        raise UsageError("say what is called: --endpoint https://…, or --file with a url")
    with service.client() as client:
        _tell(client.put_job(name, **body), is_json=as_json)


@app.command("rotate-secret")
@takes(service=chosen_service)
def rotate_secret(
    service: Service,
    name: JobName,
    *,
    secret: Annotated[
        str | None, typer.Option(help="Made by the service if not given.", show_default=False)
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds that the old one is used, too; a day.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the calls of a job with a new secret, and show it once."""
    with service.client() as client:
        _tell(client.rotate_secret(name, secret=secret, overlap_s=overlap), is_json=as_json)


@app.command("rotate-token-key")
@takes(service=chosen_service)
def rotate_token_key(
    service: Service,
    *,
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds that older links stay valid; a week.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the links in calls with a new key, and show which keys are valid."""
    with service.client() as client:
        keys = client.rotate_token_key(overlap_s=overlap)
    if as_json:
        print_json(keys)
        return
    print_rows(
        ("key", "made", "valid until"),
        [(str(key["number"]), key["created_at"], key["expires_at"] or "rotated") for key in keys],
    )


@app.command("delete")
@takes(service=chosen_service)
def delete_job(service: Service, name: JobName, *, as_json: AsJson = False) -> None:
    """Forget a job that no unfinished program needs."""
    with service.client() as client:
        client.delete_job(name)
    if as_json:
        print_json({"deleted": name})
    else:
        echo(f"Deleted {name}.")


def _tell(job: "Job", *, is_json: bool) -> None:
    if is_json:
        print_json(job)
        return
    for key, value in job.items():
        if value not in (None, [], 0):
            shown = ", ".join(value) if isinstance(value, list) else value
            echo(f"{key:<16} {shown}")


@takes(service=chosen_service)
def workers(service: Service, *, as_json: AsJson = False) -> None:
    """List the live workers."""
    with service.client() as client:
        found = client.workers()
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    rows = [
        (
            each["name"],
            # an older service does not say it
            f"{each['host']}:{each['pid']}" if each.get("pid") else each["host"],
            each["version"],
            f"{each['busy']}/{each['slots']}",
            duration(seconds_between(each["started_at"], now)),
            f"{duration(seconds_between(each['last_seen_at'], now))} ago",
            ", ".join(each["queues"]),
            ", ".join(each["jobs"]),
        )
        for each in found
    ]
    print_rows(WORKER_COLUMNS, rows)
