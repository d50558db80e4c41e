"""Database: transactions that are tried again whole, and failures told apart."""

import asyncio
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from builders import a_program, by_hand, clock_of, row_of, submitted, submitted_all
from private_postgres import free_port
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    ProgramNotFound,
    StatementRejected,
)
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.submitting import submit
from servers import Connect, on_postgresql, on_servers, on_sqlite


async def test_work_that_fails_is_rolled_back(database: Database) -> None:
    async def fail_after(books: Books) -> None:
        await submit(books, [a_program("run-1")])
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fail_after)
    with pytest.raises(ProgramNotFound):
        await database.read(find, "run-1")


async def test_reader_sees_what_is_committed_and_waits_for_nobody(connect: Connect) -> None:
    """Also on SQLite, where there is one writer."""
    writer, reader = connect(), connect()
    await submitted(writer, "run-1")

    async def read_meanwhile(books: Books) -> int:
        await cancel(books, "run-1")
        return (await reader.read(find, "run-1")).version

    assert await writer.transact(read_meanwhile) == 1
    assert (await reader.read(find, "run-1")).version == 2


async def test_clock_stands_still_within_a_statement(database: Database) -> None:
    """What a statement writes twice is one moment."""

    async def look(books: Books) -> list[object]:
        clocks = ", ".join("{0} AS " + name for name in "abcdefghij")
        (row,) = await books.fetch(lambda sql: f"SELECT {clocks.format(sql.clock)}")
        return list(row)

    for _ in range(20):
        assert len(set(await database.read(look))) == 1


@on_sqlite
async def test_sqlite_takes_the_clock_that_it_is_given(connect: Connect) -> None:
    """Rule R7, invariant 11."""
    url = str(connect().engine.url)
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    database = Database.connect(url, clock=lambda: noon)
    await submitted(database, "run-1", start_at=noon + timedelta(days=1))
    row = await row_of(database, "run-1")
    assert (row["created_at"], row["updated_at"]) == (noon, noon)
    assert row["due_at"] == noon + timedelta(days=1)
    await database.close()


@on_postgresql
async def test_transactions_are_read_committed(database: Database) -> None:
    """Rule R15."""
    async with database.engine.connect() as connection:
        for setting, value in (
            ("transaction_isolation", "read committed"),
            ("idle_in_transaction_session_timeout", "15s"),
        ):
            assert await connection.scalar(sa.text(f"SHOW {setting}")) == value


@on_servers
async def test_deadlock_is_tried_again_whole(connect: Connect) -> None:
    """Rules R4 and R15."""
    database = connect()
    await submitted_all(database, [a_program("a"), a_program("b")])
    both_hold_one = asyncio.Barrier(2)
    tries = {"ab": 0, "ba": 0}

    async def count_up(books: Books, order: str) -> None:
        tries[order] += 1
        if books.connection.dialect.name == "postgresql":  # MariaDB sees one at once
            await books.connection.execute(sa.text("SET LOCAL deadlock_timeout = '10ms'"))
        programs = books.tables.programs
        for run_id in order:
            retries = programs.c.step_retry_count + 1
            update = programs.update().where(programs.c.run_id == run_id)
            await books.connection.execute(update.values(step_retry_count=retries))
            if tries[order] == 1 and run_id == order[0]:
                await both_hold_one.wait()

    await asyncio.gather(*(database.transact(count_up, order) for order in tries))
    assert sorted(tries.values()) == [1, 2]
    for run_id in "ab":
        assert (await row_of(database, run_id))["step_retry_count"] == 2


async def _raise(books: Books, sqlstate: str) -> None:
    """Let the server itself fail in this way."""
    block = f"DO $$ BEGIN RAISE EXCEPTION 'oh' USING ERRCODE = '{sqlstate}'; END $$"
    await books.connection.exec_driver_sql(block)


async def _tries(database: Database, sqlstate: str) -> int:
    """Return how often work is begun whose first try fails in this way."""
    begun = 0

    async def fail_first(books: Books) -> int:
        nonlocal begun
        begun += 1
        if begun == 1:
            await _raise(books, sqlstate)
        return begun

    try:
        return await database.transact(fail_first)
    except BatchRefused:
        return begun


@on_postgresql
@pytest.mark.parametrize(
    "sqlstate",
    [
        "40001",  # serialization failure
        "40P01",  # deadlock
        "57P01",  # shut down by an administrator
        "57P03",  # starting up
        "53300",  # too many connections
        "08006",  # connection failure
        "25006",  # read only: the primary has become a standby
        "53100",  # disk full
        "53200",  # out of memory
        "55P03",  # lock not available: somebody alters the table
        "42501",  # no privilege: nothing is wrong with the row
        "42703",  # no such column: nobody has migrated yet
        "28P01",  # a password that was changed
        "57014",  # cancelled, by a timeout or an administrator
        "58030",  # input or output error
    ],
)
async def test_server_in_trouble_is_asked_again(database: Database, sqlstate: str) -> None:
    """Rule R4, invariant 12: nothing was refused, so no outcome of a job may be dropped."""
    assert await _tries(database, sqlstate) == 2


@on_postgresql
@pytest.mark.parametrize(
    "sqlstate", ["22P05", "22001", "22003", "23505", "23514", "54000", "P0001", "AB123"]
)
async def test_what_the_server_refuses_is_not_asked_again(
    database: Database, sqlstate: str
) -> None:
    """Invariant 12: such a batch is split."""
    assert await _tries(database, sqlstate) == 1


@on_postgresql
async def test_nul_in_a_text_is_refused(database: Database) -> None:
    """Invariant 12."""
    for field in ({"queue": "\0"}, {"labels": {"key": "\0"}}, {"run_id": "\0"}):
        with pytest.raises(BatchRefused):
            await submitted(database, **{"run_id": "run-1"} | field)
    assert (await submitted(database, "run-1")).run_id == "run-1"


@on_postgresql
async def test_what_is_missing_is_said_in_the_databases_own_words(database: Database) -> None:
    async def fail(books: Books) -> None:
        await books.run(lambda _sql: "SELECT * FROM nothing")

    with capture_logs() as logs:
        for run in (database.transact_past_outages(9.0, fail), database.read(fail)):
            with pytest.raises(StatementRejected, match='relation "nothing" does not exist'):
                await run
    assert 'relation "nothing" does not exist' in str(database.complaints.rejected)
    # once for now: a thousand programs may wait for it
    (line,) = [line for line in logs if line["event"] == "database.rejects_statement"]
    assert (line["log_level"], line["during"]) == ("error", "fail")
    assert "(42P01)" in line["error_message"]


async def test_everything_that_leaves_is_an_error_of_ours(database: Database) -> None:
    """What a driver raises in Python's words, too: a number, or a text, that it cannot send."""

    async def ask(books: Books, value: object) -> None:
        await books.fetch(lambda _sql: "SELECT :value AS value", value=value)

    for value in ("\ud800", object(), {"text": "\ud800"}, {1: 2**80}):
        for run in (database.transact(ask, value), database.read(ask, value)):
            with suppress(BookkeepingError):
                await run
    with pytest.raises(BookkeepingError):
        await database.read(ask, {"text": "\ud800"})


async def test_cancellation_that_nobody_asked_for_ends_nothing(database: Database) -> None:
    begun = 0

    async def stray(books: Books) -> datetime:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise asyncio.CancelledError
        return await clock_of(books)

    assert isinstance(await database.transact(stray), datetime)
    begun = 0
    with pytest.raises(DatabaseUnavailable, match="nobody asked"):
        await database.read(stray)


CUTTING = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mysql": ("SELECT CONNECTION_ID()", "KILL {}"),
}
"""How a connection learns its number, and how an administrator cuts the one of a number."""


@on_servers
async def test_connection_that_the_server_cut_is_replaced(connect: Connect) -> None:
    """Rule R4: also in the middle of a transaction."""
    database, administrator = connect(), connect()
    await submitted(database, "run-1")
    begun = 0

    async def cut_first(books: Books) -> None:
        nonlocal begun
        begun += 1
        await cancel(books, "run-1")
        if begun == 1:
            ask, cut = CUTTING[books.connection.dialect.name]
            number = await books.connection.scalar(sa.text(ask))
            async with administrator.engine.begin() as connection:
                await connection.exec_driver_sql(cut.format(number))
            await books.run(lambda sql: f"UPDATE {sql.programs} SET step = 9")

    await database.transact(cut_first)
    assert begun == 2
    assert (await row_of(database, "run-1"))["step"] == 0


@pytest.mark.parametrize("user", ["postgresql://postgres", "mysql://root"])
async def test_server_that_is_not_there_is_unavailable(user: str) -> None:
    database = Database.connect(f"{user}@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(DatabaseUnavailable):
        await database.transact_within(0.2, submit, [a_program()])
    with pytest.raises(DatabaseUnavailable):
        await database.read(find, "run-1")
    await database.close()


async def test_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """Nothing was refused: the volume may be mounted a moment later."""
    database = Database.connect(f"sqlite:///{tmp_path}/no/such/folder/programs.db")
    threads = set(threading.enumerate())
    with pytest.raises(DatabaseUnavailable):
        await database.transact_within(0.2, submit, [a_program()])
    with pytest.raises(DatabaseUnavailable):
        await database.read(find, "run-1")
    await database.close()
    for thread in set(threading.enumerate()) - threads:
        # aiosqlite's threads still want to tell this event loop that they have closed nothing
        await asyncio.to_thread(thread.join, 10)


async def test_one_at_a_time_holds_the_lock_of_a_purpose(connect: Connect) -> None:
    """Rule R5."""
    one, other = connect(), connect()
    async with one.alone("sweep") as is_alone:
        assert is_alone
        async with other.alone("report") as is_alone_too:
            assert is_alone_too
        if one.engine.dialect.name == "postgresql":
            async with other.alone("sweep") as is_second:
                assert not is_second
    async with other.alone("sweep") as is_alone:
        assert is_alone


async def test_lock_of_a_purpose_holds_no_row(connect: Connect) -> None:
    """Rule R5: the sweeper publishes while it holds it."""
    sweeper, worker = connect(), connect()
    await submitted(worker, "run-1")
    async with sweeper.alone("sweep"):
        await sweeper.read(find, "run-1")
        await by_hand(worker, "run-1", step=1)
    assert (await row_of(worker, "run-1"))["step"] == 1


async def test_cancellation_that_a_driver_swallowed_is_heeded(database: Database) -> None:
    """Python 3.11's `wait_for` returns what came at the moment of the cancellation."""
    begun = asyncio.Event()

    async def swallow(books: Books) -> str:
        with suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.sleep(60)
        return str(await clock_of(books))

    for run in (database.transact, database.read):
        begun.clear()
        working = asyncio.create_task(run(swallow))
        await begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
