"""Asking: which service a command talks to, as whom, and what its refusals mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from program_executor.errors import UsageError
from program_executor.profiles import Profiles

if TYPE_CHECKING:
    from program_executor.client import Client

LOCAL = "http://127.0.0.1:8080"
FEW_TRIES = 3
"""For people who wait at a terminal: 0.6 s until they are told that nothing answers."""
MANY_TRIES = 12
"""For commands that follow a program: 36 s, so that they outlive a restart of the service."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Service:
    """A service, and as whom it is asked."""

    url: str
    key: str | None
    key_origin: str = ""
    """Where the key comes from, in words."""

    @contextmanager
    def client(self, *, tries: int = FEW_TRIES) -> "Iterator[Client]":
        """Talk to it; what goes wrong is told in words that say what to do.

        Raises:
            UnreachableError: it does not answer.
            RefusedError: it refuses.
        """
        import httpx

        from program_executor.client import Client
        from program_executor.commands.refusals import refused, unreachable
        from program_executor.exchange import ProblemError

        try:
            with Client(self.url, key=self.key, tries=tries) as client:
                yield client
        except ProblemError as error:
            raise refused(error, self) from error
        except httpx.TransportError as error:
            raise unreachable(error, self) from error


def chosen_service(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="PROGRAM_EXECUTOR_URL",
            help=f"The address of the service; by default the profile's, or {LOCAL}.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="PROGRAM_EXECUTOR_KEY", help="An API key.", show_default=False),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="PROGRAM_EXECUTOR_PROFILE",
            help="Whose address and key to use; see `program-executor profile`.",
            show_default=False,
        ),
    ] = None,
) -> Service:
    """Return the service that options, variables and profiles choose, in this order.

    The key of a profile goes to the profile's address alone, never to one that was given instead.

    Raises:
        UsageError: what was chosen cannot be used.
    """
    profiles = Profiles.load()
    name = profile or profiles.current
    chosen = profiles.named(name) if name else None
    place = require_url(url or (chosen.url if chosen else LOCAL))
    if key:
        return Service(place, require_key(key), "--key or PROGRAM_EXECUTOR_KEY")
    if chosen and chosen.key and require_url(chosen.url) == place:
        return Service(place, require_key(chosen.key), f"the profile {name!r}")
    return Service(place, None)


def require_url(text: str) -> str:
    """Return the address of a service, without a slash at its end.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not text.isprintable():
        message = f"{text!r} is no address of a service: it is like https://programs.example"
        raise UsageError(message)
    return text.rstrip("/")


def require_key(text: str) -> str:
    """Return an API key.

    Raises:
        UsageError: it cannot be one.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError("an API key is printable ASCII without blanks, like pe_name_…")
    return text
