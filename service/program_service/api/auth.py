"""Auth: API keys with scopes, known by their hashes only."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from math import inf
from types import MappingProxyType

from fastapi import Request

from program_service.api.problems import Problem
from program_service.api.sites import refuse_other_sites

ADMITTED = "program_executor.caller"
"""Where a request's scope has who sent it."""

DIGEST = re.compile(r"[0-9a-fA-F]{64}")

ANYBODYS_NAME = "anybody"
"""What the log calls callers where no keys are configured."""


class Scope(StrEnum):
    """What a key may be used for; admin includes all."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of the key, or None where no keys are configured."""

    name: str | None
    scopes: frozenset[Scope]
    label: tuple[str, str] | None = None
    """The label that the programs have which a bound key may see; None for all programs."""
    digest: str = ""
    expires_at: float = inf
    """In seconds of the epoch."""

    def may(self, scope: Scope) -> bool:
        """Say whether the caller may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Let the caller pass.

        Raises:
            Problem: its key does not have this scope.
        """
        if not self.may(scope):
            detail = f"The key {self.name!r} does not have the scope {scope.value!r}."
            raise Problem(403, "forbidden", detail)

    def sees(self, labels: Mapping[str, str]) -> bool:
        """Say whether a program with these labels is one that the caller may see."""
        return self.label is None or labels.get(self.label[0]) == self.label[1]

    def require_unbound(self) -> None:
        """Let a caller pass who may see all programs.

        Raises:
            Problem: its key is bound to a label.
        """
        if self.label is not None:
            detail = (
                f"The key {self.name!r} is for programs with the label {'='.join(self.label)!r};"
                " this is about all programs."
            )
            raise Problem(403, "forbidden", detail)

    @property
    def bounds(self) -> list[tuple[str, str]]:
        """The labels that the programs have which the caller may see."""
        return [] if self.label is None else [self.label]

    @property
    def who(self) -> str:
        """The name for the log."""
        return self.name or ANYBODYS_NAME


ANYBODY = Caller(None, frozenset(Scope))

READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it stands in the settings, and what that says."""

    text: str
    caller: Caller
    digest: str


def entries_of(text: str) -> list[Entry]:
    """Read keys as the settings hold them: `name=scope+scope:sha256hex`, separated by spaces.

    Raises:
        ValueError: an entry is of another form.
    """
    return [_entry(entry) for entry in text.split()]


def _entry(text: str) -> Entry:
    name, _, rest = text.partition("=")
    scopes, _, digest = rest.partition(":")
    known = {scope.value for scope in Scope}
    if not name or not DIGEST.fullmatch(digest) or not set(scopes.split("+")) <= known:
        msg = (
            f"the API key entry {name!r} is not of the form name=scope+scope:sha256hex"
            f" (scopes: {', '.join(sorted(known))}); `program-executor keys new NAME --setting`"
            " makes one"
        )
        raise ValueError(msg)
    granted = frozenset(Scope(scope) for scope in scopes.split("+"))
    return Entry(text, Caller(name, granted, digest=digest.lower()), digest.lower())


class Keyring:
    """The keys of the setting API_KEYS."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        """Take {SHA-256 of the key in hex: caller}."""
        self._callers = callers

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Take the keys of the settings.

        Raises:
            ValueError: an entry is of another form.
        """
        return cls({entry.digest: entry.caller for entry in entries_of(text)})

    @property
    def is_empty(self) -> bool:
        """Whether no key is configured, so that everybody who can connect may do everything."""
        return not self._callers

    @property
    def callers(self) -> Mapping[str, Caller]:
        """The callers, by the SHA-256 of their keys in hex."""
        return MappingProxyType(self._callers)

    def caller(self, authorization: str | None) -> Caller | None:
        """Return whose key an Authorization header carries."""
        if self.is_empty:
            return ANYBODY
        key = key_in(authorization)
        return self.named_by(digest_of(key)) if key else None

    def named_by(self, digest: str) -> Caller | None:
        """Return whose key has this hash.

        How long a look-up by hash takes says nothing about any key.
        """
        return self._callers.get(digest)


def key_in(authorization: str | None) -> str:
    """Return the key that an Authorization header carries, or nothing."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def digest_of(key: str) -> str:
    """Hash a key. Keys are long and random, so a fast hash is as good as a slow one."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(name: str) -> str:
    """Make a key."""
    return f"pe_{name}_{secrets.token_urlsafe(32)}"


async def admit(request: Request) -> Caller:
    """Say who calls, and count the request; whoever asks again gets the same answer at once.

    Raises:
        Problem: nobody whom we know, or somebody who has tried too many wrong keys, or asks too
            often; or, where anybody may call, a browser, told to by a page of another site.
    """
    caller: Caller | None = request.scope.get(ADMITTED)
    if caller is None:
        caller = request.scope[ADMITTED] = await _authenticated(request)
        if rates := request.app.state.services.rates:
            rates.spend(request, caller.name or "")
    return caller


async def _authenticated(request: Request) -> Caller:
    services, sent = request.app.state.services, request.headers.get("authorization")
    caller: Caller | None = await services.authenticator.caller(key_in(sent))
    if caller is None:
        if key_in(sent):
            services.strangers.note(request, "key")
        raise unauthorized()
    if caller is ANYBODY and request.method not in READING:
        refuse_other_sites(request)  # no key is there to stop them
    return caller


def unauthorized() -> Problem:
    """Return the answer to nobody whom we know."""
    detail = "Send a key of this service as `Authorization: Bearer …`."
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


async def permitted(request: Request, scope: Scope) -> Caller:
    """Say who calls, if the caller has this scope.

    Raises:
        Problem: nobody whom we know, or somebody without it.
    """
    caller = await admit(request)
    caller.require(scope)
    return caller


@dataclass(frozen=True, slots=True)
class Requires:
    """A dependency that lets only callers with this scope through."""

    scope: Scope

    async def __call__(self, request: Request) -> Caller:
        """Say who calls."""
        return await permitted(request, self.scope)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can connect to an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
