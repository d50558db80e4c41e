"""ETags: no operation changes what is shown of a program and leaves its ETag as it was.

Except for the end of a lease, which renewals move. The operations are those of the tests of lost
commits, which find every function that a transaction is made of.
"""

from typing import Any

import pytest

from builders import by_hand, claimed, seconds_ago, submitted
from forgetting import Forgetful
from lost_commits import CASES
from program_service.api.responses import etag
from program_service.api.views import show
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import Filter, Program, find, list_programs
from program_service.bookkeeping.ledger.renewing import Hold, renew
from servers import Connect, on_sqlite

pytestmark = on_sqlite  # the same statements as on each database


async def _programs(database: Database) -> dict[str, Program]:
    page = await database.read(list_programs, Filter(), limit=100)
    return {program.run_id: program for program in page.programs}


def _shown(program: Program) -> dict[str, Any]:
    shown = show(program)
    if shown["status"] == "running":
        del shown["due_at"]
    return shown


@pytest.mark.parametrize("name", CASES)
async def test_operation_that_changes_what_is_shown_changes_the_etag(
    connect: Connect, name: str
) -> None:
    database = connect.of(Forgetful)
    do = await CASES[name].prepare(database)
    before = await _programs(database)
    await do()
    after = await _programs(database)
    for run_id in before.keys() & after.keys():
        old, new = before[run_id], after[run_id]
        assert (etag(old) == etag(new)) is (_shown(old) == _shown(new))


async def test_renewal_of_a_lease_leaves_the_etag(database: Database) -> None:
    program = await claimed(database, "run-1")
    before = await database.read(find, "run-1")
    await database.transact(renew, [Hold(program.id, program.lease)], lease_s=9_999.0)
    after = await database.read(find, "run-1")
    assert after.due_at != before.due_at
    assert etag(after) == etag(before)


@pytest.mark.parametrize("column", ["due_at", "queue"])
async def test_what_moves_by_hand_changes_the_etag(database: Database, column: str) -> None:
    await submitted(database, "run-1")
    moved: dict[str, Any] = {"due_at": seconds_ago(database, 9), "queue": "other"}
    before = await database.read(find, "run-1")
    await by_hand(database, "run-1", **{column: moved[column]})
    assert etag(await database.read(find, "run-1")) != etag(before)
