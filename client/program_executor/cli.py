"""Command line: `program-executor`; what a command needs is imported when it runs."""

import sys

import typer

from program_executor.commands import endpoints, programs, servers, tools

app = typer.Typer(
    name="program-executor",
    help="Run programs: ordered lists of jobs that finish no matter what breaks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
servers.add_to(app)
programs.add_to(app)
tools.add_to(app)
endpoints.add_to(app)


def main() -> None:
    """Run a command; what the user can repair is said in one line."""
    try:
        app()
    except Exception as error:
        from program_executor.commands.failures import explain  # noqa: PLC0415 - when needed

        message = explain(error)
        if message is None:
            raise
        typer.echo(f"error: {message}", err=True)
        sys.exit(2)
