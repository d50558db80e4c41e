"""Job data: read, replace and merge what a job keeps in a program."""

from typing import TYPE_CHECKING, Annotated

import typer

from program_executor.commands.asking import Service, chosen_service
from program_executor.commands.completing import JobName, RunId
from program_executor.commands.composing import takes
from program_executor.commands.printing import print_json
from program_executor.commands.submitting import STANDARD_INPUT, read_json, read_json_file
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_executor.shapes import Json

Value = Annotated[
    str,
    typer.Argument(
        help="A JSON object; @FILE reads one, - reads the standard input.", show_default=False
    ),
]

app = typer.Typer(help="What a job keeps in a program: read it, change it.", no_args_is_help=True)


@app.command()
@takes(service=chosen_service)
def get(service: Service, run_id: RunId, job: JobName) -> None:
    """Print the data of a job, as JSON."""
    with service.client() as client:
        print_json(client.job_data(run_id, job))


@app.command("set")
@takes(service=chosen_service)
def replace(service: Service, run_id: RunId, job: JobName, value: Value) -> None:
    """Replace the data of a job, and print them."""
    with service.client() as client:
        print_json(client.set_job_data(run_id, job, _object(value)))


@app.command()
@takes(service=chosen_service)
def merge(service: Service, run_id: RunId, job: JobName, value: Value) -> None:
    """Merge into the data of a job, no deeper than the first level, and print them."""
    with service.client() as client:
        print_json(client.merge_job_data(run_id, job, _object(value)))


def _object(text: str) -> "Json":
    if text == STANDARD_INPUT or text.startswith("@"):
        value = read_json_file(text.removeprefix("@"), what="the value")
    else:
        value = read_json(text, "the value")
    if not isinstance(value, dict):
        raise UsageError('job data are a JSON object, as in {"page": 3}')
    return value
