"""Connections: few are enough, and none that somebody must have is anybody's to take."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa

from builders import HOUR_S, claimed, clock_of
from patience import eventually
from program_service.bookkeeping import advisory
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.tables import Tables
from servers import Connect, on_servers

pytestmark = on_servers  # SQLite opens as many as it needs


@pytest.fixture
def small(connect: Connect) -> Database:
    """Return a database with one connection for everybody."""
    return connect(pool_size=1)


async def test_locks_of_purposes_take_no_connection_of_those_who_work(small: Database) -> None:
    """A service sweeps, purges and notifies at a time; each needs to read meanwhile."""
    async with AsyncExitStack() as held:
        for purpose in ("sweep", "purge", "notify"):
            assert await held.enter_async_context(small.alone(purpose))
        await small.read(clock_of)
        await small.transact(clock_of)


async def test_leases_are_renewed_while_all_connections_are_taken(small: Database) -> None:
    """Rule R3: neither jobs nor requests hold them up."""
    program = await claimed(small, "run-1")
    hold = Hold(program.id, program.lease)
    reserved = small.reserved()
    async with small.engine.connect():
        renewals = await reserved.transact(renew, [hold], lease_s=HOUR_S)
    assert renewals == {hold: Renewal.RENEWED}


async def test_slow_requests_leave_connections_to_submits_and_loops(connect: Connect) -> None:
    database = connect(pool_size=3)
    requests, gate = database.leaving(2), asyncio.Event()
    begun: list[int] = []

    async def slow(_books: Books, number: int) -> int:
        begun.append(number)
        await gate.wait()
        return number

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(requests.read(slow, number)) for number in range(3)]
        waiting += [tasks.create_task(requests.transact(slow, number)) for number in range(3, 6)]
        await asyncio.gather(*(database.transact(clock_of) for _ in range(4)))
        assert begun == [0]
        gate.set()
    assert [each.result() for each in waiting] == list(range(6))


async def test_request_does_not_wait_for_slow_ones_for_ever(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("program_service.bookkeeping.database.CONNECTION_WITHIN_S", 0.05)
    requests, gate = connect(pool_size=3).leaving(2), asyncio.Event()

    async def slow(_books: Books) -> None:
        await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(requests.read(slow))
        await asyncio.sleep(0)
        with pytest.raises(DatabaseUnavailable, match="DATABASE_POOL_SIZE"):
            await requests.read(clock_of)
        gate.set()


async def test_process_does_not_hold_a_lock_twice(small: Database, connect: Connect) -> None:
    """The database would let its one session have the lock again."""
    async with small.alone("sweep") as is_first, small.alone("sweep") as is_second:
        assert (is_first, is_second) == (True, False)
        async with connect().alone("sweep") as is_other:
            assert not is_other
    async with connect().alone("sweep") as is_other:
        assert is_other


async def test_lock_of_a_frozen_process_expires(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule R5: its connection lives on, so that the server alone would never notice."""
    monkeypatch.setattr(advisory, "EXPIRES_AFTER_S", 1)
    frozen, other = connect(), connect()

    async def is_taken_over() -> bool:
        async with other.alone("sweep") as is_alone:
            return is_alone

    async with frozen.alone("sweep") as is_alone:
        assert is_alone
        assert not await is_taken_over()
        await eventually(is_taken_over)
    async with frozen.alone("sweep") as is_alone:
        assert is_alone


async def test_lock_of_a_long_turn_is_kept(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory, "EXPIRES_AFTER_S", 1)
    monkeypatch.setattr(advisory, "KEEP_EVERY_S", 0.0)
    sweeper, other = connect(), connect()
    async with sweeper.alone("sweep"):
        for _ in range(15):
            await sweeper.stay_alone()
            await asyncio.sleep(0.1)
        async with other.alone("sweep") as is_alone:
            assert not is_alone


async def test_session_that_was_cut_takes_its_locks_with_it(connect: Connect) -> None:
    cut, other = connect(), connect()
    kill = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
    async with cut.alone("sweep"):
        session = cut._locks._session
        assert session is not None
        ask = sa.text(f"SELECT {cut.sql.dialect.connection}")
        number = await session.scalar(ask)
        async with other.engine.connect() as administrator:
            dialect = administrator.dialect.name
            await administrator.exec_driver_sql(kill[dialect].format(number))

        async def is_free() -> bool:
            async with other.alone("sweep") as is_alone:
                return is_alone

        await eventually(is_free)
    # what the end of the turn meets is no failure of the turn
    async with cut.alone("sweep") as is_alone:
        assert is_alone


async def test_closing_closes_what_was_reserved(connect: Connect) -> None:
    url = connect().engine.url.render_as_string(hide_password=False)
    database = Database.connect(url, table_name=Tables.named("unused").programs.name)
    reserved = database.reserved()
    await reserved.read(clock_of)
    await database.close()
    pool = reserved.engine.pool
    assert isinstance(pool, sa.QueuePool)
    assert pool.checkedin() == 0
