"""ETags: no operation changes what is shown of a program and leaves its ETag as it was.

Except for the end of a lease, which renewals move. The operations are those of the tests of lost
commits, which find every function that a transaction is made of.
"""

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

from builders import by_hand, claimed, seconds_ago, submitted
from forgetting import Forgetful, empty
from lost_commits import CASES
from program_service.api.responses import etag
from program_service.api.views import show
from program_service.bookkeeping import ledger
from program_service.bookkeeping.books import Prepared
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import Filter, Program, find, list_programs
from program_service.bookkeeping.ledger.renewing import Hold, renew
from program_service.bookkeeping.sql import Sql, Statement
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


class Noting(Forgetful):
    """A database that notes which statements were sent."""

    sent: set[Statement]

    def prepared(self, statement: Statement) -> Prepared:
        """Note it."""
        self.sent.add(statement)
        return super().prepared(statement)


def _updates(sql: Sql) -> set[Statement]:
    """Return every statement of the ledger that updates programs."""
    found = set()
    for module in pkgutil.iter_modules(ledger.__path__, f"{ledger.__name__}."):
        for each in vars(importlib.import_module(module.name)).values():
            is_statement = inspect.isfunction(each) and each.__module__ == module.name
            if is_statement and list(inspect.signature(each).parameters) == ["sql"]:
                said = str(each(sql))
                if f"UPDATE {sql.programs}" in said and "WITH changed" not in said:
                    found.add(each)
    return found


async def test_every_statement_that_updates_programs_is_among_the_operations(
    connect: Connect,
) -> None:
    """But for the one that PostgreSQL alone understands, whose UPDATE is that of another one."""
    database = connect.of(Noting)
    database.sent = set()
    for case in CASES.values():
        await empty(database)
        await (await case.prepare(database))()
    missing = {each.__name__ for each in _updates(database.sql) - database.sent}
    assert missing == set()


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
