"""Token keys: what callback tokens are signed with; the newest key signs, all valid ones verify.

Keys are numbered. The first process that needs a key makes number 1; each rotation adds the next
number. While number 1 is valid, so are tokens that only the key of a job has signed: earlier
releases made no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import BatchRefused, TooManyTokenKeys
from program_service.bookkeeping.ledger.auditing import Entry, write_if_given
from program_service.bookkeeping.ledger.keys import ROUNDS
from program_service.bookkeeping.registrations import name_flaw
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.stored import read_count
from program_service.bookkeeping.tables import read_moment, require_moment

FIRST = 1
"""The number of the key that was made without a rotation."""

MOST_KEYS = 10
"""Valid keys: a rotation beyond is rejected, because no token may lose its key unasked."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key; `secret` is 32 bytes in hex."""

    id: int
    secret: str
    created_at: datetime
    expires_at: datetime | None = None


async def list_token_keys(books: Books) -> list[TokenKey]:
    """List the valid keys, the newest first."""
    keys = []
    for row in await books.fetch(_select_valid):
        try:
            keys.append(_key_from(row))
        except (ValueError, TypeError) as error:
            name_flaw("token key", str(row.id), str(error))
    return keys


async def require_token_key(books: Books, secret: str) -> TokenKey:
    """Return the newest key; make the first one of this secret if there is none."""
    for _ in range(ROUNDS):
        # in this order: a key that another process makes meanwhile has this number, too
        (newest,) = await books.fetch(_select_newest)
        if keys := await list_token_keys(books):
            return keys[0]
        await books.run(_insert, id=read_count(newest.id) + 1, secret=secret)
    msg = "the database does not keep a token key as it was written"
    raise BatchRefused(msg)


async def rotate_token_key(
    books: Books, secret: str, *, overlap: timedelta, entry: Entry | None = None
) -> list[TokenKey]:
    """Sign with this secret; older keys stay valid for `overlap`. Return the valid keys.

    The secret is made before the first try: a second try finds it (rule R4).

    Raises:
        TooManyTokenKeys: so many are valid that another one is not made.
    """
    for _ in range(ROUNDS):
        (newest,) = await books.fetch(_select_newest)  # first, as above
        keys = await list_token_keys(books)
        if keys and keys[0].secret == secret:
            # with no overlap they end now, and now is a moment later than a moment ago
            await books.run(_expire, newest=keys[0].id, overlap_s=overlap.total_seconds())
            await books.run(_forget, newest=keys[0].id)
            await write_if_given(books, entry)
            return await list_token_keys(books)
        if len(keys) >= MOST_KEYS and overlap:
            msg = (
                f"{len(keys)} token keys are valid, the most there may be: set overlap_s to 0 to"
                " end all but the new one, or wait."
            )
            raise TooManyTokenKeys(msg)
        await books.run(_insert, id=max(read_count(newest.id), FIRST) + 1, secret=secret)
    msg = "the database does not keep a token key as it was written"
    raise BatchRefused(msg)


def signs_for_endpoints(keys: Sequence[TokenKey]) -> bool:
    """Say whether tokens that only the key of a job has signed are valid."""
    return not keys or any(key.id == FIRST for key in keys)


def _key_from(row: Any) -> TokenKey:
    if type(row.id) is not int or len(bytes.fromhex(row.secret)) < 16:  # noqa: PLR2004 - 128 bits
        msg = "its id is no whole number, or its secret is too short"
        raise ValueError(msg)
    return TokenKey(row.id, row.secret, require_moment(row.created_at), read_moment(row.expires_at))


def _select_valid(sql: Sql) -> str:
    return f"""
        SELECT id, secret, created_at, expires_at FROM {sql.token_keys}
         WHERE expires_at IS NULL OR expires_at > {sql.clock}
         ORDER BY id DESC
    """


def _select_newest(sql: Sql) -> str:
    return f"SELECT COALESCE(MAX(id), 0) AS id FROM {sql.token_keys}"


def _insert(sql: Sql) -> str:
    return f"""
        INSERT INTO {sql.token_keys} (id, secret, created_at) VALUES (:id, :secret, {sql.clock})
        {sql.dialect.or_ignore(sql.token_keys, ["id"])}
    """


def _expire(sql: Sql) -> str:
    end = sql.later(":overlap_s")
    return f"""
        UPDATE {sql.token_keys} SET expires_at = {end}
         WHERE id < :newest AND (expires_at IS NULL OR expires_at > {end})
    """


def _forget(sql: Sql) -> str:
    return f"DELETE FROM {sql.token_keys} WHERE id < :newest AND expires_at <= {sql.clock}"
