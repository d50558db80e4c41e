"""Selecting: the options that say which programs are meant, of `list`, `cancel` and `resume`."""

import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from program_executor.commands.completing import job_names
from program_executor.commands.moments import moment
from program_executor.errors import UsageError
from program_executor.shapes import Filters, Status


def chosen_filters(
    *,
    status: Annotated[
        Status | None, typer.Option(help="Only of this status.", show_default=False)
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            help="Only whose current job this is.", autocompletion=job_names, show_default=False
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Only in this queue.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Only with this label, key=value; repeat it for more."),
    ] = None,
    in_progress: Annotated[
        bool, typer.Option("--in-progress", help="Only those that have not ended.")
    ] = False,
    retries: Annotated[
        int | None,
        typer.Option(
            min=0, help="Only whose current step was retried so often.", show_default=False
        ),
    ] = None,
    created_after: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT",
            help="Only submitted later: 1h (ago), 2d, or 2027-01-31T08:00Z.",
            show_default=False,
        ),
    ] = None,
    created_before: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Only submitted earlier.", show_default=False),
    ] = None,
    error: Annotated[
        str | None,
        typer.Option(
            help="Only with this in the error; needs --created-after.", show_default=False
        ),
    ] = None,
) -> Filters:
    """Return the filters, in the words of the API.

    Raises:
        UsageError: a moment or a label is not of its form.
    """
    now = datetime.now(UTC)
    if error and not created_after:
        raise UsageError("--error reads every text: say how far back, as in --created-after 1d")
    return {
        "status": status,
        "job": job,
        "queue": queue,
        "label": [_label(each) for each in label or ()] or None,
        "in_progress": in_progress or None,
        "step_retry_count_gte": retries,
        "created_after": moment(created_after, now=now) if created_after else None,
        "created_before": moment(created_before, now=now) if created_before else None,
        "error": error,
    }


def _label(text: str) -> str:
    """Return a label as the API has it: `key:value`, which may be written so, too."""
    key, *values = re.split("[=:]", text, maxsplit=1)
    if not key or not values:
        message = f"--label {text}: a label is key=value"
        raise UsageError(message)
    return f"{key}:{values[0]}"
