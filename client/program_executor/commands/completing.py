"""Completing: what the service knows, for the shell's Tab; silent when it does not answer."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from program_executor.errors import CommandError

if TYPE_CHECKING:
    from program_executor.client import Client

Found: TypeAlias = list[tuple[str, str]]
"""Words, and what they stand for."""

MOST = 50
"""Of the newest programs; more would not be read."""


def run_ids(context: typer.Context, incomplete: str) -> Found:
    """Complete the run_id of a recent program."""
    return _asked(context, incomplete, _recent)


def job_names(context: typer.Context, incomplete: str) -> Found:
    """Complete the name of a job."""
    return _asked(context, incomplete, _known)


RunId = Annotated[
    str, typer.Argument(help="The program's run_id.", autocompletion=run_ids, show_default=False)
]
JobName = Annotated[
    str, typer.Argument(help="The job's name.", autocompletion=job_names, show_default=False)
]


def profile_names(incomplete: str) -> Found:
    """Complete the name of a profile."""
    from program_executor.profiles import Profiles

    with suppress(CommandError):
        return _beginning(incomplete, [(k, v.url) for k, v in Profiles.load().profiles.items()])
    return []


def _recent(client: "Client") -> Iterator[tuple[str, str]]:
    for each in client.page(limit=MOST)["programs"]:
        done = each["progress"]
        text = f"{each['status']} {done['done']}/{done['total']} {each['current_job'] or ''}"
        yield each["run_id"], text.rstrip()


def _known(client: "Client") -> Iterator[tuple[str, str]]:
    for each in client.jobs():
        yield each["name"], each["queue"]


def _asked(
    context: typer.Context,
    incomplete: str,
    ask: "Callable[[Client], Iterator[tuple[str, str]]]",
) -> Found:
    from program_executor.commands.asking import chosen_service

    # what was typed until now, and the variables, which are not looked at while completing
    chosen = {name: context.params.get(name) for name in ("url", "key", "profile")}
    with suppress(CommandError):
        service = chosen_service(**chosen)
        with service.client(tries=1) as client:
            return _beginning(incomplete, list(ask(client)))
    return []


def _beginning(incomplete: str, found: Found) -> Found:
    return [each for each in found if each[0].startswith(incomplete)]
