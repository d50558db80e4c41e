"""Authenticator: whose key it is, by the setting and by a copy of the table that is seconds old.

A request is looked up in memory: no query, and a stranger learns nothing from the time it takes.
The copy is read again every few seconds, and before a key that it does not have is refused, so a
new key counts at once. A copy that is too old to be trusted is read before anybody is let in.
"""

import asyncio
import time
from collections.abc import Mapping
from math import inf

from program_service.api.auth import ANYBODY, Caller, Keyring, Scope, digest_of, unauthorized
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.api_keys import (
    USED_EVERY_S,
    ApiKey,
    list_keys,
    note_uses,
)
from program_service.loops.turns import take_turns

READ_EVERY_S = 3.0
TRUSTED_FOR_S = 10.0
"""How old the copy may be; a revoked key is refused everywhere after this time."""

ASKED_EVERY_S = 0.25
"""How often the table is read for keys that the copy does not have: wrong ones, most of them."""

KNOWN_SCOPES = frozenset(scope.value for scope in Scope)


class Authenticator:
    """Who calls. The table's keys are read by the loop `run`, and when somebody needs them."""

    name = "keys"

    def __init__(self, keyring: Keyring, database: Database) -> None:
        """Begin with the keys of the setting."""
        self.keyring = keyring
        self.has_read = asyncio.Event()
        self._database = database
        self._callers: Mapping[str, Caller] = {}
        self._is_empty = True
        self._read_at = self._failed_at = -inf
        self._failure = DatabaseUnavailable()
        self._reading = asyncio.Lock()
        self._used: set[str] = set()
        self._noted_at = -inf

    @property
    def is_open(self) -> bool:
        """Whether there is no key, so that everybody who can connect may do everything."""
        return self._is_empty and self.keyring.is_empty

    async def caller(self, key: str) -> Caller | None:
        """Return whose key it is, or anybody where there are none; None for a wrong key.

        Raises:
            DatabaseUnavailable: the table has to be read for that, and cannot.
        """
        return await self.caller_of(digest_of(key) if key else "")

    async def caller_of(self, digest: str) -> Caller | None:
        """Return whose key has this hash, as `caller` does."""
        if (caller := self.keyring.named_by(digest)) is not None:
            return caller
        if not digest and not self.keyring.is_empty:
            return None
        await self._read_if_older(TRUSTED_FOR_S)
        if self.is_open:
            return ANYBODY
        if digest and digest not in self._callers:
            await self._read_if_older(0.0)
        caller = self._callers.get(digest)
        if caller is None or caller.expires_at <= time.time():
            return None
        self._used.add(digest)
        return caller

    async def is_still_good(self, caller: Caller) -> bool:
        """Say whether somebody who was let in earlier would be let in now."""
        return await self.caller_of(caller.digest) == caller

    async def read(self) -> None:
        """Read the table, so that what was just changed counts here at once."""
        asked_at = time.monotonic()
        async with self._reading:
            if self._read_at < asked_at:
                await self._read()

    async def run(self) -> None:
        """Keep the copy young until cancelled, and write down which keys are used."""
        await take_turns(self._turn, every_s=READ_EVERY_S)

    async def _turn(self) -> None:
        await self.read()
        if self._used and time.monotonic() - self._noted_at >= USED_EVERY_S:
            used, self._used = self._used, set()
            self._noted_at = time.monotonic()
            await self._database.transact(note_uses, used)

    async def _read_if_older(self, age_s: float) -> None:
        """Have a copy that is so young, by one reading for all who ask meanwhile."""
        if time.monotonic() - self._read_at < age_s:
            return
        asked_at = time.monotonic()
        async with self._reading:
            if max(self._read_at, self._failed_at) < asked_at:
                await self._try_to_read()
        if time.monotonic() - self._read_at >= TRUSTED_FOR_S:
            raise DatabaseUnavailable(str(self._failure))

    async def _try_to_read(self) -> None:
        # guessing keys must not be a load: the table is read so often, however many ask
        await asyncio.sleep(max(0.0, self._read_at + ASKED_EVERY_S - time.monotonic()))
        try:
            await self._read()
        except DatabaseUnavailable as error:
            self._failed_at, self._failure = time.monotonic(), error

    async def _read(self) -> None:
        began = time.monotonic()
        keys = await self._database.read(list_keys)
        self._callers = {key.digest: caller_from(key) for key in keys if key.revoked_at is None}
        self._is_empty = not keys
        self._read_at = began
        self.has_read.set()


async def require_still_good(authenticator: Authenticator, caller: Caller) -> None:
    """Let somebody go on who has waited for an answer.

    Raises:
        Problem: the key was revoked, or has expired, since.
    """
    if not await authenticator.is_still_good(caller):
        raise unauthorized()


def caller_from(key: ApiKey) -> Caller:
    """Return who calls with a key; scopes of a newer release are left out."""
    return Caller(
        key.name,
        frozenset(Scope(scope) for scope in key.scopes if scope in KNOWN_SCOPES),
        label=key.label,
        digest=key.digest,
        expires_at=key.expires_at.timestamp() if key.expires_at else inf,
    )
