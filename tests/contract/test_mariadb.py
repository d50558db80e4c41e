"""MariaDB: what it does in its own way, and must come out the same (rule R15)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from builders import JOBS, a_program, submitted
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger import waking
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.submitting import NewProgram, SubmitResult, submit
from program_service.bookkeeping.sql import Script
from servers import Connect, on_mariadb

FINISHED_ROWS = 20_000


@on_mariadb
async def test_transactions_are_read_committed_in_utc_and_strict(database: Database) -> None:
    """Rule R15."""
    async with database.engine.connect() as connection:
        for variable, value in (
            ("tx_isolation", "READ-COMMITTED"),
            ("time_zone", "+00:00"),
            ("idle_transaction_timeout", 15),
            ("max_statement_time", 30),
        ):
            assert await connection.scalar(sa.text(f"SELECT @@{variable}")) == value
        assert "STRICT_TRANS_TABLES" in await connection.scalar(sa.text("SELECT @@sql_mode"))


@on_mariadb
async def test_names_are_compared_byte_by_byte(database: Database) -> None:
    """MariaDB's usual collations take `mail`, `Mail` and `mail ` for one name."""
    for run_id in ("mail", "Mail", "mail ", "máil"):
        await submitted(database, run_id)
    for run_id in ("mail", "Mail", "mail ", "máil"):
        assert (await database.read(find, run_id)).run_id == run_id


async def _tries(database: Database, number: int) -> int:
    """Return how often work is begun whose first try fails with this error of the server."""
    begun = 0
    signal = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'oh'"

    async def fail_first(books: Books) -> int:
        nonlocal begun
        begun += 1
        if begun == 1:
            await books.connection.exec_driver_sql(f"BEGIN NOT ATOMIC {signal}; END")
        return begun

    try:
        return await database.transact(fail_first)
    except BatchRefused:
        return begun


@on_mariadb
@pytest.mark.parametrize(
    "number",
    [
        1021,  # disk full
        1037,  # out of memory
        1040,  # too many connections
        1053,  # shutting down
        1064,  # wrong syntax: a bug of ours, and no fault of any row
        1142,  # no right to do so
        1146,  # no such table: nobody has migrated yet
        1205,  # a lock was not to be had in time
        1213,  # deadlock
        1290,  # read only: the primary has become a replica
        1317,  # interrupted
        1927,  # the connection was killed
        1969,  # the statement took too long
    ],
)
async def test_server_in_trouble_is_asked_again(database: Database, number: int) -> None:
    """Rule R4, invariant 12."""
    assert await _tries(database, number) == 2


@on_mariadb
@pytest.mark.parametrize("number", [1048, 1062, 1264, 1366, 1406, 1644, 4025])
async def test_what_the_server_refuses_is_not_asked_again(database: Database, number: int) -> None:
    """Invariant 12: such a batch is split."""
    assert await _tries(database, number) == 1


@on_mariadb
async def test_text_that_is_too_long_is_refused_and_not_cut(database: Database) -> None:
    """Invariant 12."""
    with pytest.raises(BatchRefused):
        await submitted(database, "run-1", submitted_by="x" * 256)


@on_mariadb
async def test_batch_that_is_too_long_for_a_packet_is_split(database: Database) -> None:
    """Invariant 12: the server would hang up in the middle, which looks as if it were away."""
    async with database.engine.connect() as connection:
        limit = await connection.scalar(sa.text("SELECT @@max_allowed_packet"))
    long = {"long": '"' * (limit // 5)}  # escaped as JSON in JSON, and once more as SQL
    with pytest.raises(BatchRefused, match="max_allowed_packet"):
        await submitted(database, "run-1", program_data={"long": '"' * limit})

    async def write(programs: Sequence[NewProgram]) -> list[SubmitResult]:
        return await database.transact(submit, programs)

    commits = GroupCommit(write)
    committing = asyncio.create_task(commits.run())
    names = [f"run-{number}" for number in range(5)]
    try:
        await asyncio.gather(
            *(commits.add(a_program(name, program_data={"n": name})) for name in names[:3]),
            *(commits.add(a_program(name, program_data={"n": name} | long)) for name in names[3:]),
            return_exceptions=True,
        )
    finally:
        committing.cancel()
    for name in names[:3]:
        assert (await database.read(find, name)).program_data == {"n": name}


@on_mariadb
async def test_one_holder_of_an_advisory_lock_at_a_time(connect: Connect) -> None:
    """Rule R5: one sweeper."""
    first, second = connect(), connect()
    async with (
        first.alone("sweep") as is_first,
        second.alone("sweep") as is_second,
        second.alone("other") as is_other,
    ):
        assert (is_first, is_second, is_other) == (True, False, True)
    async with second.alone("sweep") as is_second:
        assert is_second


@on_mariadb
async def test_sweep_and_claim_read_indexes_however_much_has_finished(database: Database) -> None:
    await submitted(database, "due", program_data={"n": 1})
    name = database.tables.programs.name
    columns = "jobs, program_data, job_data, job, queue, labels, created_at, updated_at, due_at"
    fill = f"""
        INSERT INTO {name} (run_id, finished_at, {columns})
        SELECT CONCAT('old-', seq), created_at, {columns}
          FROM {name}, seq_1_to_{FINISHED_ROWS} WHERE run_id = 'due'
    """
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(fill)
        await connection.exec_driver_sql(f"ANALYZE TABLE {name}")
    due = waking._select_due(database.sql)
    known = database.sql.dialect.pack(list(JOBS))
    plan = await _plan(database, due, known=known, head_start_s=-1.0, limit=10)
    assert plan[name] == f"{name}_due"
    mark = waking._mark_woken(database.sql)
    assert isinstance(mark, Script)
    assert mark.lock is not None
    batch = database.sql.dialect.pack([{"of_id": 1, "was_due_at": "2026-05-04T12:00:00+00:00"}])
    assert (await _plan(database, mark.lock, batch=batch))["program"] == "PRIMARY"


async def _plan(database: Database, text: object, **parameters: Any) -> dict[str, str]:
    """Return {table of the query: the index that it is read by}."""
    async with database.engine.connect() as connection:
        rows = (await connection.execute(sa.text(f"EXPLAIN {text}"), parameters)).all()
    return {row.table: row.key for row in rows}
