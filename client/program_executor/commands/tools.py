"""Commands around the system: config, doctor, openapi."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands.asking import AsJson
from program_executor.commands.printing import echo, echo_document, print_json
from program_executor.errors import ExitCode

if TYPE_CHECKING:
    from program_service.settings import Settings

PageFile = Annotated[Path, typer.Argument(help="Where to write the page.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    config = typer.Typer(
        help="Settings, and the pages that are written from the code.", no_args_is_help=True
    )
    config.command("show")(show_config)
    config.command("document")(document_config)
    config.command("metrics")(document_metrics)
    config.command("events")(document_events)
    config.command("commands")(document_commands)
    config.command("reference")(document_reference)
    app.add_typer(config, name="config")
    app.command()(doctor)
    app.command()(openapi)


def show_config(*, as_json: AsJson = False) -> None:
    """Print the settings in effect and where each comes from, secrets masked."""
    from program_executor.configuring import read_settings
    from program_service.settings import PREFIX, Settings

    settings = read_settings()
    found = [
        {"name": f"{PREFIX}{name.upper()}", "value": _shown(settings, name), "from": origin}
        for name in Settings.model_fields
        for origin in [_origin(settings, name)]
    ]
    if as_json:
        print_json(found)
        return
    for each in found:
        origin = "" if each["from"] == "environment" else f"  ({each['from']})"
        echo(f"{each['name']} = {each['value']}{origin}")


def _shown(settings: "Settings", name: str) -> Any:
    if name == "api_keys":
        return "***" if settings.api_keys else ""
    return settings.model_dump(mode="json")[name]


def _origin(settings: "Settings", name: str) -> str:
    from program_service.settings import CONFIG_VARIABLE, PREFIX

    if name not in settings.model_fields_set:
        return "default"
    is_set = f"{PREFIX}{name}".upper() in {variable.upper() for variable in os.environ}
    return "environment" if is_set else os.environ[CONFIG_VARIABLE]


def document_config(file: PageFile) -> None:
    """Write the page of all settings."""
    from program_executor.commands.documents import settings_page

    file.write_text(settings_page())


def document_metrics(file: PageFile) -> None:
    """Write the page of all metrics."""
    from program_executor.commands.documents import metrics_page

    file.write_text(metrics_page())


def document_events(file: PageFile) -> None:
    """Write the page of all log events."""
    from program_executor.commands.documents import events_page

    file.write_text(events_page())


def document_commands(file: PageFile) -> None:
    """Write the page of all commands."""
    from program_executor.commands.documents import commands_page

    file.write_text(commands_page())


def document_reference(file: PageFile) -> None:
    """Write the page of all calls over HTTP."""
    from program_executor.commands.documents import openapi_document
    from program_executor.commands.reference import reference_page

    file.write_text(reference_page(openapi_document()))


def openapi(
    file: Annotated[Path | None, typer.Argument(help="Where to write it.")] = None,
) -> None:
    """Write the OpenAPI document."""
    from program_executor.commands.documents import openapi_document

    text = json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        echo_document(text)
    else:
        file.write_text(text)


def doctor(*, as_json: AsJson = False) -> None:
    """Check settings, database, tables, clocks, broker and keys, and say what to do."""
    from dataclasses import asdict

    from program_executor.commands.checkup import check_up
    from program_executor.configuring import read_settings
    from program_executor.processes import run
    from program_service.telemetry import configure_logging

    configure_logging(level="CRITICAL", is_json=False)  # the findings say it all
    findings = run(check_up(read_settings()))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            echo(f"{'ok  ' if finding.is_good else 'BAD '} {finding.what}: {finding.text}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(ExitCode.NOT_FINISHED)
