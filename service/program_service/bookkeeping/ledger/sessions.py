"""Sessions of the dashboard: begun with a key, ended by people, by time, or with the key.

The table has the hash of what the browser keeps, so who reads the table cannot sign in.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import SessionNotFound
from program_service.bookkeeping.ledger.api_keys import has_id, id_of
from program_service.bookkeeping.ledger.auditing import Entry, write_entry, write_if_given
from program_service.bookkeeping.ledger.deleting import delete_once
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.stored import read_text, require_moment

MOST_OF_A_KEY = 100
"""Sessions of one key; the next sign-in ends the one that was silent for longest."""

SEEN_EVERY = timedelta(minutes=1)
"""How exact `last_seen_at` is."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A browser that signs in; `digest` is the hash of what its cookie holds."""

    digest: str
    key_digest: str
    key_name: str

    @property
    def id(self) -> str:
        """What names it, and gives nobody the cookie."""
        return id_of(self.digest)


@dataclass(frozen=True, slots=True)
class Session(NewSession):
    """A session as the table has it."""

    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


async def begin_session(books: Books, session: NewSession, entry: Entry, *, lasts_s: float) -> None:
    """Write a session down, and end the oldest ones of its key beyond the most it may have."""
    row = {
        "new_digest": session.digest,
        "new_key_digest": session.key_digest,
        "new_key_name": session.key_name,
    }
    await books.run(_insert, batch=[row], lasts_s=lasts_s)
    sessions = books.tables.sessions
    of_key = (
        sa.select(sessions.c.digest)
        .where(sessions.c.key_digest == session.key_digest)
        .order_by(sessions.c.last_seen_at.desc())
        .limit(2 * MOST_OF_A_KEY)
    )
    digests = [row.digest for row in await books.select(of_key)]
    others = [digest for digest in digests if digest != session.digest]
    if surplus := others[MOST_OF_A_KEY - 1 :]:
        await books.connection.execute(sa.delete(sessions).where(sessions.c.digest.in_(surplus)))
    await write_entry(books, entry)


async def find_session(books: Books, digest: str, *, idle_s: float) -> tuple[Session, bool] | None:
    """Find a session that has not ended; say whether it is time to write down that it was seen."""
    sessions = books.tables.sessions
    query = sa.select(sessions, books.clock.label("now")).where(sessions.c.digest == digest)
    for row in await books.select(query):
        session, now = _session(row), require_moment(row.now)
        if session.expires_at > now and now - session.last_seen_at < timedelta(seconds=idle_s):
            return session, now - session.last_seen_at > SEEN_EVERY
    return None


async def list_sessions(
    books: Books, *, idle_s: float, limit: int, after: str = ""
) -> list[Session]:
    """List sessions that have not ended, in the order of their ids, from beyond `after` on."""
    sessions, now = books.tables.sessions, await read_clock(books)
    query = (
        sa.select(sessions)
        .where(
            sessions.c.digest > after,
            sessions.c.expires_at > now,
            sessions.c.last_seen_at > now - timedelta(seconds=idle_s),
        )
        .order_by(sessions.c.digest)
        .limit(limit)
    )
    return [_session(row) for row in await books.select(query)]


async def see_session(books: Books, digest: str) -> None:
    """Write down that somebody was there, once a minute at most."""
    sessions, now = books.tables.sessions, await read_clock(books)
    is_it = sa.and_(sessions.c.digest == digest, sessions.c.last_seen_at < now - SEEN_EVERY)
    await books.connection.execute(sa.update(sessions).where(is_it).values(last_seen_at=now))


async def sign_out(books: Books, digest: str, entry: Entry | None) -> None:
    """End the session of a cookie, if there is one."""
    sessions = books.tables.sessions
    is_it = sessions.c.digest == digest
    rows = await books.select(sa.select(sessions.c.digest).where(is_it).with_for_update())
    if rows or sign_out in books.notes:
        books.notes[sign_out] = True
        await books.connection.execute(sa.delete(sessions).where(is_it))
        await write_if_given(books, entry)


async def end_session(books: Books, session_id: str, entry: Entry) -> None:
    """End a session by its id.

    Raises:
        SessionNotFound: no session has this id.
    """
    sessions = books.tables.sessions
    is_it = has_id(sessions, session_id)
    rows = await books.select(sa.select(sessions.c.digest).where(is_it).with_for_update())
    if end_session not in books.notes and not rows:
        msg = f"No session has the id {session_id!r}."
        raise SessionNotFound(msg)
    books.notes[end_session] = True
    await books.connection.execute(sa.delete(sessions).where(is_it))
    await write_entry(books, entry)


async def forget_sessions(books: Books, *, idle_s: float, limit: int) -> int:
    """Delete up to `limit` sessions that have ended by themselves; return how many."""
    row, now = books.tables.sessions.c, await read_clock(books)
    has_ended = sa.or_(
        row.expires_at < now,
        row.last_seen_at < now - timedelta(seconds=idle_s),
    )
    ended = sa.select(row.digest).where(has_ended).limit(limit)
    return await delete_once(books, forget_sessions, ended)


def _session(row: Any) -> Session:
    return Session(
        digest=read_text(row.digest),
        key_digest=read_text(row.key_digest),
        key_name=read_text(row.key_name),
        created_at=require_moment(row.created_at),
        last_seen_at=require_moment(row.last_seen_at),
        expires_at=require_moment(row.expires_at),
    )


def _insert(sql: Sql) -> str | Script:
    batch = sql.batch(new_digest="varchar", new_key_digest="varchar", new_key_name="varchar")
    return f"""
        INSERT INTO {sql.sessions} (
            digest, key_digest, key_name, created_at, last_seen_at, expires_at
        )
        SELECT new_digest, new_key_digest, new_key_name, {sql.clock}, {sql.clock},
               {sql.later(":lasts_s")}
          FROM {batch}
         WHERE TRUE
        {sql.dialect.or_ignore(sql.sessions, ["digest"])}
    """
