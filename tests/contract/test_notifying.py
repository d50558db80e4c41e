"""Notifying: what is claimed, what is found behind what has to wait, and what a resume changes."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from builders import a_program, by_hand, claimed, row_of, seconds_ago, stands, submitted_all
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.notifying import (
    Claim,
    Plan,
    Put,
    Told,
    Untold,
    claim_untold,
    find_ended,
    is_any_due,
    mark_told,
)
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import Done
from servers import Connect, on_servers

URL = "https://shop.example/ended"
CLAIM_S = 60.0


def claim_each(untold: Sequence[Untold]) -> dict[int, Put]:
    """Claim every notification."""
    return {each.id: Put(CLAIM_S, each.tries + 1) for each in untold}


async def ended(database: Database, *run_ids: str, url: str = URL) -> None:
    """Submit programs and cancel them."""
    await submitted_all(database, [a_program(run_id, notify=url) for run_id in run_ids])
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        now = seconds_ago(database, 1)
        edit = sa.update(programs).where(programs.c.run_id.in_(run_ids))
        await connection.execute(edit.values(errored_at=now, cancelled_at=now, notify_due_at=now))


async def claims_of(
    database: Database, plan: Plan = claim_each, *, limit: int = 10, without: Sequence[str] = ()
) -> list[Claim]:
    """Claim what is due."""
    return await database.transact(claim_untold, limit=limit, plan=plan, without=without)


def run_ids(claims: Sequence[Claim]) -> list[str]:
    """Return whose notifications were claimed."""
    return sorted(claim.untold.run_id for claim in claims)


async def marked(database: Database, *told: Told) -> list[Told]:
    """Note outcomes."""
    return await database.transact(mark_told, told)


async def test_program_that_ends_is_claimed_once(database: Database) -> None:
    program = await claimed(database, "run-1", jobs=["ship"], notify=URL, submitted_by="shop")
    assert not await database.read(is_any_due)
    await stands(database, program, Done())
    assert await database.read(is_any_due)
    (claim,) = await claims_of(database)
    untold = claim.untold
    assert (untold.run_id, untold.url, untold.key, untold.tries) == ("run-1", URL, "shop", 0)
    assert not untold.is_overdue
    assert (await row_of(database, "run-1"))["notify_due_at"] == claim.due_at
    assert not await database.read(is_any_due)
    assert await claims_of(database) == []
    (found,) = (await database.read(find_ended, [claim])).values()
    assert found.status == "finished"


async def test_claim_of_a_process_that_died_is_claimed_by_another(database: Database) -> None:
    await ended(database, "run-1")
    (first,) = await claims_of(database)
    await by_hand(database, "run-1", notify_due_at=seconds_ago(database, 1))
    (second,) = await claims_of(database)
    assert second.untold.tries == 1
    assert await database.read(find_ended, [first]) == {}
    assert await marked(database, Told(first, 1)) == []
    assert (await row_of(database, "run-1"))["notify_due_at"] == second.due_at


async def test_outcomes_are_noted(database: Database) -> None:
    await ended(database, "told", "later")
    claims = {claim.untold.run_id: claim for claim in await claims_of(database)}
    outcomes = [Told(claims["told"], 1), Told(claims["later"], 1, again_in_s=-1.0)]
    assert await marked(database, *outcomes) == []
    assert (await row_of(database, "told"))["notify_due_at"] is None
    (again,) = await claims_of(database)
    assert (again.untold.run_id, again.untold.tries) == ("later", 1)


@pytest.mark.parametrize("has_ended_again", [False, True])
async def test_program_that_was_resumed_is_not_the_one_that_ended(
    database: Database, *, has_ended_again: bool
) -> None:
    """Its second end has a webhook-id of its own, and is not marked by the first."""
    await ended(database, "run-1")
    (claim,) = await claims_of(database)
    await database.transact(resume, "run-1", queues={})
    assert await database.read(find_ended, [claim]) == {}
    if has_ended_again:
        await database.transact(cancel, "run-1")
        assert await database.read(find_ended, [claim]) == {}
    assert await marked(database, Told(claim, 1)) == []
    again = await claims_of(database)
    assert run_ids(again) == ["run-1"] * has_ended_again
    for each in again:
        assert each.untold.tries == 0


async def test_program_that_was_deleted_is_not_found(database: Database) -> None:
    await ended(database, "run-1")
    (claim,) = await claims_of(database)
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(database.tables.programs))
    assert await database.read(find_ended, [claim]) == {}
    assert await marked(database, Told(claim, 1)) == []


async def test_those_that_can_be_sent_are_found_behind_thousands_that_cannot(
    database: Database,
) -> None:
    """What waits is moved ahead, and nothing of it is read again before its time."""
    await ended(database, *(f"dead-{number}" for number in range(2_000)), url="https://dead/")
    await ended(database, "good")
    seen: list[str] = []

    def plan(untold: Sequence[Untold]) -> dict[int, Put]:
        seen.extend(each.run_id for each in untold)
        return {
            each.id: Put(CLAIM_S, 1) if each.run_id == "good" else Put(90.0, 0) for each in untold
        }

    pages = 0
    while "good" not in seen:
        await claims_of(database, plan, limit=500)
        pages += 1
    assert pages == 5
    assert len(seen) == len(set(seen)) == 2_001
    assert not await database.read(is_any_due)


async def test_what_the_plan_leaves_out_stays_due(database: Database) -> None:
    await ended(database, "run-1", "run-2")
    assert await claims_of(database, lambda _: {}) == []
    assert run_ids(await claims_of(database, without=["run-2"])) == ["run-1"]
    assert run_ids(await claims_of(database)) == ["run-2"]


async def test_notification_that_is_given_up_is_never_due_again(database: Database) -> None:
    await ended(database, "run-1")
    (claim,) = await claims_of(database, lambda untold: {untold[0].id: Put(None, 20)})
    assert claim.due_at is None
    row = await row_of(database, "run-1")
    assert (row["notify_due_at"], row["notify_tries"]) == (None, 20)


async def test_program_that_ended_long_ago_is_overdue(database: Database) -> None:
    await ended(database, "run-1")
    await by_hand(database, "run-1", errored_at=seconds_ago(database, 2 * 86_400))
    (claim,) = await claims_of(database)
    assert claim.untold.is_overdue


async def test_row_that_was_set_by_hand_is_claimed_like_any_other(database: Database) -> None:
    """Neither a moment beyond the calendar nor a missing address stops the others."""
    await ended(database, "run-1", "run-2", "run-3")
    name = database.tables.programs.name
    earliest = {"postgresql": "-infinity", "mysql": "1000-01-01", "sqlite": "0000"}
    async with database.engine.begin() as connection:
        moment = earliest[connection.dialect.name]
        edit = f"UPDATE {name} SET notify_due_at = '{moment}', notify = NULL WHERE run_id = 'run-1'"
        await connection.execute(sa.text(edit))
        edit = f"UPDATE {name} SET notify = '', notify_tries = 2147483647 WHERE run_id = 'run-2'"
        await connection.execute(sa.text(edit))
    claims = await claims_of(database, lambda untold: {each.id: Put(CLAIM_S, 1) for each in untold})
    assert run_ids(claims) == ["run-1", "run-2", "run-3"]


@on_servers
async def test_locked_rows_hold_up_neither_claims_nor_marks(connect: Connect) -> None:
    database, other = connect(), connect()
    await ended(database, *(f"run-{number}" for number in range(12)))
    first = await claims_of(database, limit=2)
    others = {f"run-{number}" for number in range(12)} - set(run_ids(first))
    locked = [first[0].untold.run_id, *sorted(others)[:2]]
    programs = database.tables.programs
    async with other.engine.begin() as connection, asyncio.timeout(20):
        query = sa.select(programs.c.id).where(programs.c.run_id.in_(locked)).with_for_update()
        await connection.execute(query)
        rest = await claims_of(database, limit=50)
        assert len(rest) == 8
        still = await marked(database, *(Told(claim, 1) for claim in [*first, *rest]))
        assert [told.claim for told in still] == [first[0]]
    assert await marked(database, *still) == []
    assert (await row_of(database, locked[0]))["notify_due_at"] is None
    assert run_ids(await claims_of(database)) == sorted(locked[1:])
