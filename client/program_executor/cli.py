"""Command line: `program-executor`; what a command needs is imported when it runs."""

import os
import signal
import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from program_executor.commands import (
    auditing,
    endpoints,
    job_data,
    keys,
    looking,
    profiles,
    registry,
    servers,
    steering,
    submitting,
    tools,
    watching,
)
from program_executor.commands.printing import echo
from program_executor.errors import CommandError

EPILOG = (
    "Exit codes: 0 done; 1 a program that was waited for did not finish, or a check found something"
    " wrong; 2 wrong use; 3 nothing answers; 4 the service refuses; 130 stopped by Ctrl-C."
)

app = typer.Typer(
    name="program-executor",
    help="Run programs: ordered lists of jobs that finish no matter what breaks.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
servers.add_to(app)
app.command()(submitting.submit)
app.command()(watching.watch)
app.command("list")(looking.list_programs)
app.command()(looking.show)
app.command()(looking.attempts)
app.command()(looking.explain)
app.command()(steering.cancel)
app.command()(steering.resume)
app.add_typer(job_data.app, name="job-data")
app.add_typer(registry.app, name="jobs")
app.command()(registry.workers)
app.add_typer(profiles.app, name="profile")
app.add_typer(keys.app, name="keys")
app.add_typer(auditing.sessions, name="sessions")
app.command()(auditing.audit)
tools.add_to(app)
endpoints.add_to(app)


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer's
    if is_wanted:
        echo(version("program-executor"))
        raise typer.Exit


@app.callback()
def of_all(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Take what concerns no single command."""


def main() -> None:
    """Run a command; what the user can repair is said in one line."""
    if os.getpid() == 1:
        # the first process of a container is not told of a signal that it does not wait for, so a
        # worker that still imports its jobs would go on, take programs, and be killed with them
        signal.signal(signal.SIGTERM, _end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # a mark that the terminal's character set does not have is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        failure = error if isinstance(error, CommandError) else _explained(error)
        if failure is None:
            raise
        echo(f"error: {failure}", err=True)
        sys.exit(failure.code)


def _end(number: int, _frame: object) -> NoReturn:
    """End as any other process does by this signal."""
    os._exit(128 + number)


def _explained(error: Exception) -> CommandError | None:
    from program_executor.commands.failures import explain  # noqa: PLC0415 - when needed

    return explain(error)
