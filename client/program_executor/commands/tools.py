"""Commands around the system: keys, config, doctor, openapi."""

import json
from pathlib import Path
from typing import Annotated

import typer

SCOPES = "submit+read"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="API keys.", no_args_is_help=True)
    keys.command("new")(new_key)
    app.add_typer(keys, name="keys")
    config = typer.Typer(help="Settings and log events.", no_args_is_help=True)
    config.command("show")(show_config)
    config.command("document")(document_config)
    config.command("events")(document_events)
    app.add_typer(config, name="config")
    app.command()(doctor)
    app.command()(openapi)


def new_key(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scopes: Annotated[
        str, typer.Option(help="submit, read, operate, admin, joined with +.")
    ] = SCOPES,
) -> None:
    """Make an API key: give it to its user, and its hash to the service."""
    from program_service.api import auth

    if not name.isidentifier():
        message = f"{name!r}: use letters, digits and underscores"
        raise typer.BadParameter(message)
    key = auth.new_key(name)
    entry = f"{name}={scopes}:{auth.digest_of(key)}"
    try:
        auth.Keyring.parse(entry)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"The key, shown only now:  {key}")
    typer.echo(f"Add to PROGRAM_EXECUTOR_API_KEYS:  {entry}")


def show_config() -> None:
    """Print the settings in effect, secrets masked."""
    from program_service.settings import PREFIX, Settings

    settings = Settings()
    for name in Settings.model_fields:
        origin = "" if name in settings.model_fields_set else "  (default)"
        value = "***" if name == "api_keys" and settings.api_keys else getattr(settings, name)
        typer.echo(f"{PREFIX}{name.upper()} = {value}{origin}")


def document_config(
    file: Annotated[Path, typer.Argument(help="Where to write the page.")],
) -> None:
    """Write the page of all settings."""
    from program_executor.commands.documents import settings_page

    file.write_text(settings_page())


def document_events(
    file: Annotated[Path, typer.Argument(help="Where to write the page.")],
) -> None:
    """Write the page of all log events."""
    from program_executor.commands.documents import events_page

    file.write_text(events_page())


def openapi(
    file: Annotated[Path | None, typer.Argument(help="Where to write it.")] = None,
) -> None:
    """Write the OpenAPI document."""
    from program_executor.commands.documents import openapi_document

    text = json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        typer.echo(text, nl=False)
    else:
        file.write_text(text)


def doctor() -> None:
    """Check database, tables and keys, and say what to do."""
    from program_executor.commands.checkup import check_up
    from program_executor.processes import run
    from program_service.settings import Settings
    from program_service.telemetry import configure_logging

    configure_logging(level="CRITICAL", is_json=False)  # the findings say it all
    findings = run(check_up(Settings()))
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.is_good else 'BAD '} {finding.what}: {finding.text}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)
