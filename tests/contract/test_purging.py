"""Purging: what ended long ago is deleted with all that belongs to it, and nothing else is."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from builders import (
    HOUR_S,
    a_claim,
    a_claimant,
    a_failure,
    a_key,
    a_program,
    by_hand,
    claimed,
    clock_of,
    lapse,
    reclaimed,
    recorded,
    seconds_ago,
    stands,
    submitted,
    submitted_all,
)
from lines import Lines, of_event
from patience import eventually
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.api_keys import ApiKey, add_key, forget_old_keys
from program_service.bookkeeping.ledger.auditing import Entry
from program_service.bookkeeping.ledger.claiming import Missed, claim
from program_service.bookkeeping.ledger.keys import Replayed
from program_service.bookkeeping.ledger.purging import forget_counts, forget_keys, purge
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.submitting import Submitted
from program_service.bookkeeping.lifecycle import Done, Fail
from program_service.loops import purger
from program_service.loops.purger import BATCH, Keeping, Purger
from program_service.telemetry import Metrics
from refusing import own_trigger
from roles import Role
from servers import Connect, on_postgresql, on_servers

DAY_S = 24 * HOUR_S
DAY = timedelta(days=1)
KEEPING = Keeping(rollup_days=7, audit_days=7, session_idle_s=HOUR_S)


async def _finished(database: Database, run_id: str, **fields: Any) -> None:
    program = await claimed(database, run_id, jobs=["ship"], **fields)
    await stands(database, program, Done())


async def _ended_long_ago(database: Database, run_id: str, seconds: float = 2 * DAY_S) -> None:
    await _finished(database, run_id)
    await by_hand(database, run_id, finished_at=seconds_ago(database, seconds))


async def _purged(database: Database, *, limit: int = 100) -> int:
    return await database.transact(purge, older_than=DAY, limit=limit)


async def _run_ids(database: Database, table: str = "programs") -> list[str]:
    """Return the run_ids of all rows of a table."""
    run_id = getattr(database.tables, table).c.run_id

    async def select(books: Books) -> list[str]:
        return [row.run_id for row in await books.select(sa.select(run_id).order_by(run_id))]

    return await database.read(select)


def _purger(
    database: Database, *, metrics: Metrics | None = None, retention_days: float | None = 1
) -> Purger:
    return Purger(database, metrics or Metrics(), retention_days=retention_days, keeping=KEEPING)


def _counted(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("program_executor_programs_purged_total")
    assert value is not None
    return value


async def test_each_kind_of_end_grows_old(database: Database) -> None:
    for age, seconds in (("old", 2 * DAY_S), ("young", DAY_S / 2)):
        moment = seconds_ago(database, seconds)
        await _finished(database, f"finished-{age}")
        await by_hand(database, f"finished-{age}", finished_at=moment)
        await stands(database, await claimed(database, f"errored-{age}"), Fail(a_failure()))
        await submitted(database, f"cancelled-{age}")
        await database.transact(cancel, f"cancelled-{age}")
        for kind in ("errored", "cancelled"):
            await by_hand(database, f"{kind}-{age}", errored_at=moment)
    assert await _purged(database) == 3
    assert await _run_ids(database) == ["cancelled-young", "errored-young", "finished-young"]
    assert await _purged(database) == 0


async def test_age_counts_from_the_end_and_not_from_the_beginning(database: Database) -> None:
    await _finished(database, "slow")
    await by_hand(database, "slow", created_at=seconds_ago(database, 9 * DAY_S))
    assert await _purged(database) == 0
    assert await _run_ids(database) == ["slow"]


async def test_what_has_not_ended_is_kept_however_old(database: Database) -> None:
    await submitted(database, "pending")
    await claimed(database, "lapsed")
    for run_id in ("pending", "lapsed"):
        long_ago = seconds_ago(database, 9 * DAY_S)
        await by_hand(database, run_id, created_at=long_ago, due_at=long_ago, updated_at=long_ago)
    assert await _purged(database) == 0
    assert await _run_ids(database) == ["lapsed", "pending"]


async def test_attempts_and_keys_go_with_their_program(database: Database) -> None:
    await _finished(database, "old", idempotency=a_key("of-old"))
    await _finished(database, "young", idempotency=a_key("of-young"))
    await by_hand(database, "old", finished_at=seconds_ago(database, 2 * DAY_S))
    assert await _purged(database) == 1
    for table in ("programs", "attempts", "idempotency"):
        assert await _run_ids(database, table) == ["young"]


async def test_key_of_a_purged_program_starts_another(database: Database) -> None:
    await _finished(database, "old", idempotency=a_key("order-7"))
    (answer,) = await submitted_all(database, [a_program("again", idempotency=a_key("order-7"))])
    assert answer == Replayed("old")
    await by_hand(database, "old", finished_at=seconds_ago(database, 2 * DAY_S))
    await _purged(database)
    (answer,) = await submitted_all(database, [a_program("again", idempotency=a_key("order-7"))])
    assert isinstance(answer, Submitted)


async def test_whose_end_has_yet_to_be_told_is_kept(database: Database) -> None:
    await _finished(database, "told", notify="https://shop.example/ended")
    await _finished(database, "untold", notify="https://shop.example/ended")
    for run_id in ("told", "untold"):
        await by_hand(database, run_id, finished_at=seconds_ago(database, 2 * DAY_S))
    await by_hand(database, "told", notify_due_at=None)
    assert await _purged(database) == 1
    assert await _run_ids(database) == ["untold"]
    await by_hand(database, "untold", notify_due_at=None)
    assert await _purged(database) == 1


async def test_batch_takes_so_many_and_the_longest_ended_first(database: Database) -> None:
    for number in range(5):
        await _ended_long_ago(database, f"run-{number}", (2 + number) * DAY_S)
    assert await _purged(database, limit=2) == 2
    assert await _run_ids(database) == ["run-0", "run-1", "run-2"]
    assert await _purged(database, limit=5) == 3


@on_servers  # SQLite has one writer at a time
async def test_row_that_somebody_holds_is_left_for_the_next_time(connect: Connect) -> None:
    database, other = connect(), connect()
    for run_id in ("held", "free"):
        await _ended_long_ago(database, run_id)
    programs = database.tables.programs
    async with other.engine.begin() as connection:
        held = sa.select(programs.c.id).where(programs.c.run_id == "held").with_for_update()
        await connection.execute(held)
        assert await _purged(database) == 1  # would wait here for ever
        assert await _run_ids(database) == ["held"]
    assert await _purged(database) == 1


async def test_worker_that_still_runs_a_purged_program_is_refused(database: Database) -> None:
    """Rule R2: it was cancelled long ago, and its worker stalled."""
    program = await claimed(database, "run-1")
    await database.transact(cancel, "run-1")
    await by_hand(database, "run-1", errored_at=seconds_ago(database, 2 * DAY_S))
    await _purged(database)
    assert await recorded(database, program, Done()) is None
    assert await _run_ids(database, "attempts") == []


async def test_wakeup_of_a_purged_program_claims_nothing(database: Database) -> None:
    await _ended_long_ago(database, "run-1")
    await _purged(database)
    answers = await database.transact(claim, [a_claim("run-1")], a_claimant())
    assert answers == [Missed.GONE]


async def test_keys_whose_programs_were_deleted_by_hand_are_forgotten(database: Database) -> None:
    names = [f"run-{number}" for number in range(7)]
    await submitted_all(database, [a_program(name, idempotency=a_key(name)) for name in names])
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        gone = sa.delete(programs).where(programs.c.run_id.in_(["run-1", "run-2", "run-6"]))
        await connection.execute(gone)
    looked_to: str | None = ""
    pages = 0
    while looked_to is not None:
        looked_to = await database.transact(forget_keys, after=looked_to, limit=3)
        pages += 1
    assert pages == 3
    assert await _run_ids(database, "idempotency") == ["run-0", "run-3", "run-4", "run-5"]


async def test_attempts_of_every_life_are_deleted(database: Database) -> None:
    await claimed(database, "run-1")
    program = await reclaimed(database, "run-1")
    await stands(database, program, Done(), is_next_mine=False)
    await lapse(database, "run-1")
    await database.transact(cancel, "run-1")
    assert len(await _run_ids(database, "attempts")) == 2
    await by_hand(database, "run-1", errored_at=seconds_ago(database, 2 * DAY_S))
    assert await _purged(database) == 1
    assert await _run_ids(database, "attempts") == []


async def _many_old(database: Database, count: int) -> None:
    await submitted_all(database, [a_program(f"old-{number:04}") for number in range(count)])
    old = database.tables.programs.update().values(finished_at=seconds_ago(database, 2 * DAY_S))
    async with database.engine.begin() as connection:
        await connection.execute(old)


async def test_purger_deletes_batch_after_batch(database: Database) -> None:
    await _many_old(database, 2 * BATCH + 1)
    await submitted(database, "new")
    metrics = Metrics()
    purging = asyncio.create_task(_purger(database, metrics=metrics).run())

    async def all_are_counted() -> bool:
        return _counted(metrics) == 2 * BATCH + 1

    try:
        await eventually(all_are_counted)
    finally:
        purging.cancel()
    await asyncio.wait([purging])
    assert await _run_ids(database) == ["new"]


async def _counted_days_ago(database: Database, days: float, *, minutes: int = 1) -> None:
    """Pretend that something was counted in each of so many minutes, the last so long ago."""
    newest = (await database.read(clock_of)).replace(second=0, microsecond=0) - days * DAY
    counted = {"job": "reserve", "outcome": "done", "worker": "", "bucket": 1, "shard": 0}
    rows = [
        counted | {"minute": newest - timedelta(minutes=number), "count": 1}
        for number in range(minutes)
    ]
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.rollups), rows)


async def _minutes(database: Database) -> list[datetime]:
    minute = database.tables.rollups.c.minute

    async def select(books: Books) -> list[datetime]:
        return [row.minute for row in await books.select(sa.select(minute).order_by(minute))]

    return await database.read(select)


async def test_counts_grow_old_some_minutes_at_a_time(database: Database) -> None:
    await _counted_days_ago(database, 2.0, minutes=14)
    await _counted_days_ago(database, 0.5)
    for left in (5, 1, 1):
        await database.transact(forget_counts, older_than=DAY)
        assert len(await _minutes(database)) == left


@pytest.mark.parametrize("retention_days", [None, 9_999])
async def test_old_counts_are_deleted_however_long_programs_are_kept(
    database: Database, retention_days: float | None
) -> None:
    await _finished(database, "run-1")
    for days in (8, 6):
        await _counted_days_ago(database, days)
    await _purger(database, retention_days=retention_days)._turn()
    now = await database.read(clock_of)
    assert [(now - minute).days for minute in await _minutes(database)] == [6, 0]
    assert await _run_ids(database) == ["run-1"]


@on_servers  # SQLite's one process is always alone
async def test_one_process_purges_at_a_time(connect: Connect) -> None:
    database, other = connect(), connect()
    await _ended_long_ago(database, "run-1")
    purging = _purger(database)
    async with other.alone("purge"):
        await purging._turn()
        assert await _run_ids(database) == ["run-1"]
    await purging._turn()
    assert await _run_ids(database) == []


async def test_without_a_retention_nothing_is_purged(database: Database) -> None:
    await _ended_long_ago(database, "run-1", 9_999 * DAY_S)
    await _purger(database, retention_days=None)._turn()
    assert await _run_ids(database) == ["run-1"]


async def test_keys_of_programs_that_are_gone_are_forgotten_without_a_retention(
    database: Database,
) -> None:
    """They were deleted by hand: nobody would use their keys again."""
    for run_id in ("gone", "there"):
        await submitted(database, run_id, idempotency=a_key(run_id))
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(programs).where(programs.c.run_id == "gone"))
    await _purger(database, retention_days=None)._turn()
    assert await _run_ids(database, "idempotency") == ["there"]


@on_postgresql  # which says that a function raised it
async def test_trigger_whose_server_is_away_holds_up_no_purge(database: Database) -> None:
    await _many_old(database, 5)
    async with own_trigger(database, "OLD.run_id = 'old-0002'", event="DELETE", code="08001"):
        await _purger(database)._turn()
        assert await _run_ids(database) == ["old-0002"]


@on_postgresql  # it needs a role of its own
async def test_privilege_that_is_missing_for_counts_holds_up_no_programs(
    database: Database,
) -> None:
    await _ended_long_ago(database, "run-1")
    role = Role(database)
    restricted = await role.connect()
    with capture_logs() as lines:
        async with role.lacking("SELECT", restricted.tables.rollups):
            await _purger(restricted)._turn()
    await restricted.close()
    await role.drop()
    assert await _run_ids(database) == []
    assert of_event(cast("Lines", lines), "database.rejects_statement")


async def test_program_that_the_database_keeps_holds_up_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of the user's may refer to it; so may some of the oldest."""
    monkeypatch.setattr(purger, "PAUSE_S", 0.0)
    await _many_old(database, 30)
    kept = ["old-0000", "old-0011", "old-0029"]
    condition = f"OLD.run_id IN ({', '.join(map(repr, kept))})"
    purging = _purger(database)
    with capture_logs() as lines:
        async with own_trigger(database, condition, event="DELETE"):
            await purging._turn()
            assert await _run_ids(database) == kept
            await purging._turn()  # they are passed by now
    told = of_event(cast("Lines", lines), "purge.held_up")
    assert sorted(line["run_id"] for line in told) == kept
    await _purger(database)._turn()
    assert await _run_ids(database) == []


@on_servers  # SQLite has one writer at a time
@pytest.mark.parametrize("table", ["attempts", "idempotency", "rollups"])
async def test_what_somebody_has_locked_holds_up_no_other(connect: Connect, table: str) -> None:
    database, other = connect(), connect()
    for run_id in ("held", "free"):
        await _finished(database, run_id, idempotency=a_key(run_id))
        await by_hand(database, run_id, finished_at=seconds_ago(database, 2 * DAY_S))
    await _counted_days_ago(database, 8)
    rows = getattr(database.tables, table)
    held = sa.select(rows).with_for_update()
    if table != "rollups":
        held = held.where(rows.c.run_id == "held")
    async with other.engine.begin() as connection:
        assert (await connection.execute(held)).all()
        await _purger(database)._turn()
        assert await _run_ids(database) == ([] if table == "rollups" else ["held"])
    await _purger(database)._turn()
    assert await _run_ids(database) == []


@on_servers
async def test_key_that_somebody_has_locked_is_forgotten_later(connect: Connect) -> None:
    database, other = connect(), connect()
    for run_id in ("held", "free"):
        await submitted(database, run_id, idempotency=a_key(run_id))
    keys, programs = database.tables.idempotency, database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(programs))
    async with other.engine.begin() as connection:
        held = sa.select(keys).where(keys.c.run_id == "held").with_for_update()
        assert (await connection.execute(held)).all()
        await database.transact_past_outages(0.0, forget_keys, after="", limit=10)
        assert await _run_ids(database, "idempotency") == ["held"]
    await database.transact(forget_keys, after="", limit=10)
    assert await _run_ids(database, "idempotency") == []


async def test_tables_without_keys_sessions_and_entries_hold_no_purge_up(
    database: Database,
) -> None:
    with capture_logs() as lines:
        await _purger(database)._turn()
    assert lines == []


async def test_newest_key_stays_however_old_it_is(database: Database) -> None:
    """Without any row, a service whose settings have no keys would be open."""
    keys, long_ago = database.tables.keys, seconds_ago(database, 99 * DAY_S)
    for name in ("first", "second"):
        key = ApiKey(name, name, ["read"])
        await database.transact(add_key, key, Entry("key_made", "ada", "127.0.0.1"))
    async with database.engine.begin() as connection:
        await connection.execute(sa.update(keys).values(revoked_at=long_ago))
    await database.transact(forget_old_keys, limit=10)
    async with database.engine.connect() as connection:
        assert (await connection.scalars(sa.select(keys.c.name))).all() == ["second"]
