"""API keys: made, listed and revoked; the table has their hashes.

A key is made by the caller, before the first try: a second one finds it in the table, and so knows
that the first one was committed (rule R4).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import KeyNotFound, TooManyKeys
from program_service.bookkeeping.ledger.auditing import Entry, write_entry
from program_service.bookkeeping.ledger.deleting import delete_once
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.stored import read_text

MAX_KEYS = 10_000
"""Each process reads all of them every few seconds: some 50 ms for so many."""

ID_DIGITS = 16
"""Of the hash, which are shown and name a key."""

USED_EVERY_S = 60
"""How exact `last_used_at` is."""

KEPT_FOR = timedelta(days=30)
"""How long the row of a key stays that has expired or was revoked."""

Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the table has it; `label` is the (key, value) that its programs have."""

    digest: str
    name: str
    scopes: Sequence[str]
    label: Label | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def id(self) -> str:
        """What names it."""
        return id_of(self.digest)


async def add_key(books: Books, key: ApiKey, entry: Entry) -> ApiKey:
    """Write a key down, and return it as it is in the table.

    Raises:
        TooManyKeys: there are as many as each process can read.
    """
    keys = books.tables.keys
    is_there = keys.c.digest == key.digest
    if not await books.select(sa.select(keys.c.digest).where(is_there)):
        (found,) = await books.select(sa.select(sa.func.count().label("total")).select_from(keys))
        if found.total >= MAX_KEYS:
            msg = f"There are {MAX_KEYS:,} keys, as many as a service may have; revoke some."
            raise TooManyKeys(msg)
        await books.run(_insert, batch=[_as_row(key)])
        await write_entry(books, entry)
    (row,) = await books.select(sa.select(keys).where(is_there))
    return key_from(row)


async def list_keys(books: Books) -> list[ApiKey]:
    """List all keys by name, also those that were revoked lately."""
    keys = books.tables.keys
    query = sa.select(keys).order_by(keys.c.name, keys.c.digest).limit(MAX_KEYS)
    return [key_from(row) for row in await books.select(query)]


async def revoke_key(books: Books, key_id: str, entry: Entry) -> None:
    """Revoke a key, and end the sessions that were begun with it.

    Its row stays for a while: without any, a service that has no keys in its settings is open.

    Raises:
        KeyNotFound: no key of the table has this id.
    """
    keys, sessions = books.tables.keys, books.tables.sessions
    rows = await books.select(sa.select(keys).where(has_id(keys, key_id)).with_for_update())
    if not rows:
        msg = f"No key has the id {key_id!r}."
        raise KeyNotFound(msg)
    if rows[0].revoked_at is not None:  # by somebody before, or by an earlier try
        return
    digest, now = rows[0].digest, await read_clock(books)
    is_it = keys.c.digest == digest
    await books.connection.execute(sa.update(keys).where(is_it).values(revoked_at=now))
    await books.connection.execute(sa.delete(sessions).where(sessions.c.key_digest == digest))
    await write_entry(books, entry)


def id_of(digest: str) -> str:
    """Return what names a key, or a session, of this hash."""
    return digest[:ID_DIGITS]


def has_id(table: sa.Table, ident: str) -> sa.ColumnElement[bool]:
    """Return the condition of the row whose digest begins with an id, and not with less."""
    if len(ident) < ID_DIGITS:
        return sa.false()
    return sa.and_(table.c.digest >= ident, table.c.digest < f"{ident}g")  # "g" follows "f"


async def note_uses(books: Books, digests: Collection[str]) -> None:
    """Write down that keys were used just now, each once a minute at most."""
    await books.run(_note_uses, digests=sorted(digests), before_s=-USED_EVERY_S)


async def forget_old_keys(books: Books, *, limit: int) -> None:
    """Delete up to `limit` keys that expired or were revoked long ago, but not the newest key."""
    row = books.tables.keys.c
    (newest,) = await books.select(sa.select(sa.func.max(row.created_at).label("at")))
    if newest.at is None:
        return
    until = await read_clock(books) - KEPT_FOR
    is_old = sa.or_(row.expires_at < until, row.revoked_at < until)
    old = sa.select(row.digest).where(is_old, row.created_at < newest.at).limit(limit)
    await delete_once(books, forget_old_keys, old)


def key_from(row: Any) -> ApiKey:
    """Read a row; with half a label, nobody knows what the key may see, and it may do nothing."""
    half = (row.label_key is None) != (row.label_value is None)
    is_bound = row.label_key is not None and not half
    return ApiKey(
        digest=read_text(row.digest),
        name=read_text(row.name),
        scopes=() if half else read_text(row.scopes).split("+"),
        label=(read_text(row.label_key), read_text(row.label_value)) if is_bound else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def _as_row(key: ApiKey) -> dict[str, Any]:
    label_key, label_value = key.label or (None, None)
    return {
        "new_digest": key.digest,
        "new_name": key.name,
        "new_scopes": "+".join(key.scopes),
        "new_label_key": label_key,
        "new_label_value": label_value,
        "new_expiry": key.expires_at and key.expires_at.astimezone(UTC).isoformat(),
    }


def _insert(sql: Sql) -> str | Script:
    batch = sql.batch(
        new_digest="varchar",
        new_name="varchar",
        new_scopes="varchar",
        new_label_key="varchar",
        new_label_value="varchar",
        new_expiry="varchar",
    )
    return f"""
        INSERT INTO {sql.keys} (
            digest, name, scopes, label_key, label_value, created_at, expires_at
        )
        SELECT new_digest, new_name, new_scopes, new_label_key, new_label_value, {sql.clock},
               {sql.moment("new_expiry")}
          FROM {batch}
         WHERE TRUE
        {sql.dialect.or_ignore(sql.keys, ["digest"])}
    """


def _note_uses(sql: Sql) -> str:
    return f"""
        UPDATE {sql.keys} SET last_used_at = {sql.clock}
         WHERE {sql.among("digest", "digests")}
           AND (last_used_at IS NULL OR last_used_at < {sql.later(":before_s")})
    """
