"""Audit: who did what to what, and why, written in the transaction that does it.

The id of an entry is made before the first try, so that a try whose COMMIT answer was lost writes
it once (rule R4). Ids are UUIDs of version 7: their order is that of the time.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import uuid_utils

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.deleting import delete_once
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.ledger.showing import shown_object
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.sql import Script, Sql
from program_service.bookkeeping.stored import read_text


def _new_id() -> str:
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody does: `action` is a stable word, `detail` what else there is to say."""

    action: str
    actor: str
    client: str
    run_id: str | None = None
    target: str | None = None
    reason: str | None = None
    detail: Json = field(default_factory=dict)
    id: str = field(default_factory=_new_id)


@dataclass(frozen=True, slots=True)
class Audited:
    """An entry as it was read."""

    id: str
    at: datetime
    actor: str
    client: str
    action: str
    run_id: str | None
    target: str | None
    reason: str | None
    detail: Json


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None means any."""

    run_id: str | None = None
    actor: str | None = None
    action: str | None = None
    is_of_programs: bool = False


async def write_entry(books: Books, entry: Entry) -> None:
    """Write an entry down, once."""
    row = {
        "new_id": entry.id,
        "new_actor": entry.actor,
        "new_client": entry.client[:255],
        "new_action": entry.action,
        "new_run_id": entry.run_id,
        "new_target": entry.target,
        "new_reason": entry.reason,
        "new_detail": entry.detail,
    }
    await books.run(_insert, batch=[row])


async def write_if_given(books: Books, entry: Entry | None) -> None:
    """Write an entry down, if somebody is named who does it."""
    if entry is not None:
        await write_entry(books, entry)


async def list_entries(
    books: Books, wanted: AuditFilter, *, limit: int, before: str | None = None
) -> list[Audited]:
    """List entries, the newest first, that are older than the one with the id `before`."""
    row = books.tables.audit.c
    given = [
        (row.run_id, wanted.run_id),
        (row.actor, wanted.actor),
        (row.action, wanted.action),
    ]
    conditions = [column == value for column, value in given if value is not None]
    if wanted.is_of_programs:
        conditions.append(row.run_id.is_not(None))
    if before is not None:
        conditions.append(row.id < before)
    query = sa.select(books.tables.audit).where(*conditions).order_by(row.id.desc()).limit(limit)
    return [_audited(each) for each in await books.select(query)]


async def forget_entries(books: Books, *, older_than: timedelta, limit: int) -> int:
    """Delete up to `limit` of the oldest entries, if they are older; return how many."""
    row, first_kept = books.tables.audit.c, _first_id_of(await read_clock(books) - older_than)
    old = sa.select(row.id).where(row.id < first_kept).order_by(row.id).limit(limit)
    return await delete_once(books, forget_entries, old)


def _first_id_of(moment: datetime) -> str:
    """Return what all ids that are made later are greater than: a UUID begins with milliseconds."""
    digits = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _audited(row: Any) -> Audited:
    values = row._asdict()
    texts = {
        name: None if values[name] is None else read_text(values[name])
        for name in ("id", "actor", "client", "action", "run_id", "target", "reason")
    }
    detail = {} if values["detail"] is None else shown_object("detail", values["detail"])
    return Audited(at=values["at"], detail=detail, **texts)  # type: ignore[arg-type]


def _insert(sql: Sql) -> str | Script:
    batch = sql.batch(
        new_id="varchar",
        new_actor="varchar",
        new_client="varchar",
        new_action="varchar",
        new_run_id="varchar",
        new_target="varchar",
        new_reason="text",
        new_detail="json",
    )
    return f"""
        INSERT INTO {sql.audit} (
            id, at, actor, client, action, run_id, target, reason, detail
        )
        SELECT new_id, {sql.clock}, new_actor, new_client, new_action, new_run_id, new_target,
               new_reason, new_detail
          FROM {batch}
         WHERE TRUE
        {sql.dialect.or_ignore(sql.audit, ["id"])}
    """
