"""Profiles: name the services that you talk to, with their addresses and keys."""

import sys
from getpass import getpass
from typing import Annotated

import typer

from program_executor.commands.asking import AsJson, require_key, require_url
from program_executor.commands.completing import profile_names
from program_executor.commands.printing import echo, print_json, print_rows
from program_executor.profiles import Profile, Profiles, profiles_file

STANDARD_INPUT = "-"

Name = Annotated[
    str,
    typer.Argument(help="The profile's name.", autocompletion=profile_names, show_default=False),
]

app = typer.Typer(help="Services that you talk to often.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The profile's name.", show_default=False)],
    *,
    url: Annotated[str, typer.Option(help="The address of the service.", show_default=False)],
    key: Annotated[
        str | None,
        typer.Option(
            help="An API key; - asks for it, or reads it from a pipe, out of sight of `ps`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add a profile, or change the one of this name; the first is used from now on."""
    if key == STANDARD_INPUT:
        key = _typed_key()
    profile = Profile(require_url(url), require_key(key) if key else None)
    profiles = Profiles.load().with_profile(name, profile)
    profiles.store()
    used = "" if profiles.current == name else f"; `program-executor profile use {name}` uses it"
    echo(f"{name} is {profile.url}, in {profiles_file()}{used}.")


def _typed_key() -> str:
    if sys.stdin.isatty():
        return getpass("Key: ").strip()
    return sys.stdin.readline().strip()


@app.command()
def use(name: Name) -> None:
    """Use a profile when none is named."""
    profiles = Profiles.load()
    profile = profiles.named(name)
    Profiles(profiles.profiles, name).store()
    echo(f"Commands talk to {profile.url} from now on.")


@app.command("list")
def list_profiles(*, as_json: AsJson = False) -> None:
    """List the profiles; keys are not shown."""
    profiles = Profiles.load()
    found = [
        {
            "name": name,
            "url": profile.url,
            "has_key": profile.key is not None,
            "is_used": name == profiles.current,
        }
        for name, profile in profiles.profiles.items()
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(each["name"]),
            "used" if each["is_used"] else "",
            "with key" if each["has_key"] else "",
            str(each["url"]),
        )
        for each in found
    ]
    print_rows(("profile", "", "", "address"), rows)


@app.command()
def remove(name: Name) -> None:
    """Forget a profile and its key."""
    profiles = Profiles.load()
    profiles.named(name)
    profiles.without(name).store()
    echo(f"Removed {name}.")
